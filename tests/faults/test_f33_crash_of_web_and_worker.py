"""33 through web, worker and proxy: a crash as a site goes live, under GETs → old site or new, never a mixture."""

from __future__ import annotations

import random
import threading
import time

import httpx2
import pytest

from tests.faults.visitors import Visitor, pages, versions_shown
from tests.faults.watching import attempts, wait_for
from tests.git_server import make_repository
from tests.processes import below_no_other, kill

pytestmark = pytest.mark.slow

CRASHES = 8
CRASHES_OF_THE_PUBLISHER = 3
# How many times as late as a promotion takes the latest kills come.
LATEST = 3


@pytest.fixture
def deploy(request, stack, repositories, folder_of_repositories):
    """Deploy a version of a site of this test's own."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)
    repository = make_repository(folder_of_repositories / name)

    def deploy(version):
        repository.commit(pages(version))
        return stack.deploy(repositories.url(name))

    return deploy


def _promote(stack, deployment):
    """Ask for production to show this deployment; the answer may be lost with the process that made it."""
    headers = {"Authorization": stack.client.headers["Authorization"]}
    address = f"http://127.0.0.1:{stack.port}/api/deployments/{deployment['id']}/promote"
    try:
        httpx2.post(address, headers=headers, trust_env=False, timeout=30)
    except httpx2.HTTPError:
        return


def _seconds_of_a_promotion(stack, deployment):
    asked = time.monotonic()
    _promote(stack, deployment)
    return time.monotonic() - asked


def _web_answers(stack):
    try:
        return stack.client.get("/healthz").is_success and len(stack.web_workers()) == 2
    except httpx2.HTTPError:
        return False


def _shown_by_the_database(stack, versions):
    (live,) = [version for version, deployment in versions.items() if _is_live(stack, deployment)]
    return live


def _is_live(stack, deployment):
    return stack.call("GET", f"/api/deployments/{deployment['id']}")["isLive"]


def test_f33_web_that_is_killed_as_it_promotes_shows_one_site_or_the_other(stack, deploy):
    versions = {"one": stack.ended(deploy("one")), "two": stack.ended(deploy("two"))}
    address = versions["two"]["url"]
    undisturbed_s = max(_seconds_of_a_promotion(stack, versions[version]) for version in ("one", "two"))
    switches = 0
    for number in range(CRASHES):
        before = _shown_by_the_database(stack, versions)
        target = "one" if before == "two" else "two"
        with Visitor(stack, address) as visitor:
            # The first visit is before the switch.
            wait_for(lambda visitor=visitor: visitor.versions)
            promoting = threading.Thread(target=_promote, args=(stack, versions[target]))
            promoting.start()
            time.sleep(LATEST * undisturbed_s * number / (CRASHES - 1))
            if number == CRASHES - 1:
                # One is after it for sure, however slow the machine is by now.
                promoting.join()
            kill(stack.web_workers())
            promoting.join()
            wait_for(lambda: _web_answers(stack))
            after = _shown_by_the_database(stack, versions)
            # The sweep brings the proxy to where PostgreSQL is, and then nothing moves any more.
            wait_for(lambda after=after: versions_shown(stack, address) == {after})
        assert visitor.wrong == []
        assert visitor.versions in ([before], [before, target]), f"back and forth: {visitor.versions}"
        switches += after == target
    # The kills came at all sorts of moments, before the decision and after it.
    assert switches > 0


@pytest.mark.timeout(300)
def test_f33_a_publisher_that_is_killed_shows_the_old_site_or_the_new_one(stack, database, deploy):
    old = "0"
    address = stack.ended(deploy(old))["url"]
    for number in range(1, CRASHES_OF_THE_PUBLISHER + 1):
        with Visitor(stack, address) as visitor:
            deployment = deploy(str(number))
            [publisher] = below_no_other(stack.processes("worker.py", "control"))
            wait_for(lambda deployment=deployment: attempts(database, deployment) == ["built"])
            time.sleep(random.uniform(0, 0.1))
            publisher.kill()
            assert len(versions_shown(stack, address)) == 1
            assert stack.ended(deployment)["status"] == "success"
            assert versions_shown(stack, address) == {str(number)}
        assert visitor.wrong == []
        assert visitor.versions == [old, str(number)]
        old = str(number)
