"""31 and 32 through web, worker, agent and proxy: S3 is away, or breaks off, while a deployment goes live."""

from __future__ import annotations

import pytest

from tests.chaos import Chaos
from tests.faults.visitors import Visitor, pages, versions_shown
from tests.faults.watching import attempts, wait_for
from tests.git_server import make_repository
from tests.stack import running_stack

pytestmark = pytest.mark.slow

# How slowly S3 answers while a test waits for the moment to hit: each step of publishing can then be seen.
SLOW_S = 0.1
REFUSED = 5
RESETS = 4
GAVE_UP = "autostack.sites.errors.StoreUnavailable"
MANY_N = [0, 1, 150, 400, 700, 1_000, 1_500, 2_500, 5_000]


@pytest.fixture(scope="module")
def chaos(s3):
    with Chaos(s3.port) as chaos:
        yield chaos


@pytest.fixture(scope="module")
def stack(tmp_path_factory, s3, chaos):
    environment = {
        "STORAGE_URL": f"s3://{s3.bucket}/through-web",
        "S3_ENDPOINT_URL": f"http://127.0.0.1:{chaos.port}",
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
    }
    with running_stack(tmp_path_factory.mktemp("stack"), env=environment) as running:
        running.sign_up()
        yield running


@pytest.fixture
def site(request, stack, chaos, repositories, folder_of_repositories):
    """A site whose version `old` is live: its address, and what deploys another version."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    repository = make_repository(folder_of_repositories / name, pages("old"))
    url = repositories.url(name)
    address = stack.ended(stack.deploy(url))["url"]
    assert versions_shown(stack, address) == {"old"}

    def deploy(version):
        repository.commit(pages(version))
        return stack.deploy(url)

    yield address, deploy
    chaos.heal()


def _times_given_up(stack):
    log = stack.data_dir / "log" / "worker.log"
    return log.read_text().count(GAVE_UP) if log.exists() else 0


def _assert_new_is_live(stack, database, deployment, address):
    ended = stack.ended(deployment)
    assert (ended["status"], ended["url"]) == ("success", address)
    assert attempts(database, deployment) == ["built"]
    assert versions_shown(stack, address) == {"new"}


def test_f31_the_old_site_stays_live_while_s3_is_away_from_the_upload(stack, database, chaos, site):
    address, deploy = site
    with Visitor(stack, address) as visitor:
        chaos.delay(SLOW_S)
        deployment = deploy("new")
        stack.reaches(deployment, {"building"})
        chaos.refuse()
        refused = chaos.connections
        wait_for(lambda: chaos.connections >= refused + REFUSED)
        assert versions_shown(stack, address) == {"old"}
        assert stack.call("GET", f"/api/deployments/{deployment['id']}")["status"] == "building"
        chaos.heal()
        _assert_new_is_live(stack, database, deployment, address)
    assert (visitor.versions, visitor.wrong) == (["old", "new"], [])


def test_f31_the_old_site_stays_live_while_s3_is_away_from_the_publisher(stack, database, chaos, site):
    address, deploy = site
    with Visitor(stack, address) as visitor:
        deployment = deploy("new")
        chaos.delay(SLOW_S)
        stack.reaches(deployment, {"deploying"})
        chaos.refuse()
        refused = chaos.connections
        wait_for(lambda: chaos.connections >= refused + REFUSED)
        assert versions_shown(stack, address) == {"old"}
        chaos.heal()
        _assert_new_is_live(stack, database, deployment, address)
    assert (visitor.versions, visitor.wrong) == (["old", "new"], [])


def test_f31_a_publisher_that_gave_up_is_followed_by_another_when_s3_is_back(stack, database, chaos, site):
    address, deploy = site
    with Visitor(stack, address) as visitor:
        deployment = deploy("new")
        chaos.delay(SLOW_S)
        stack.reaches(deployment, {"deploying"})
        chaos.refuse()
        seen = _times_given_up(stack)
        wait_for(lambda: _times_given_up(stack) > seen)
        assert versions_shown(stack, address) == {"old"}
        chaos.heal()
        _assert_new_is_live(stack, database, deployment, address)
    assert (visitor.versions, visitor.wrong) == (["old", "new"], [])


@pytest.mark.parametrize("n", MANY_N)
def test_f32_s3_that_breaks_off_at_byte_n_leaves_the_old_site_or_the_new_one(stack, database, chaos, site, n):
    address, deploy = site
    # The proxy reads through the same S3: what it has not seen yet, it may not have to give.
    with Visitor(stack, address, may_fail=True) as visitor:
        chaos.delay(SLOW_S)
        deployment = deploy("new")
        resets = chaos.resets
        stack.reaches(deployment, {"deploying"})
        chaos.reset_after(n)
        wait_for(lambda: chaos.resets >= resets + RESETS)
        assert versions_shown(stack, address) <= {"old", "new"}
        chaos.heal()
        _assert_new_is_live(stack, database, deployment, address)
    assert (visitor.versions, visitor.wrong) == (["old", "new"], [])
