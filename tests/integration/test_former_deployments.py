"""What a host showed before stands in its route, so that visitors of then get their scripts; and nothing else does."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from autostack.deployments import hosts
from autostack.extensions import db, store
from autostack.sites.routes import read_route
from tests.builders import build, publish


@pytest.fixture
def deploy(app, api, project):
    """Deploy Alice's project once more; return the deployment's id."""

    def deploy(number: int, branch: str = "main") -> str:
        id = api.post("/api/deployments", {"projectId": project["id"], "branch": branch}).json["id"]
        with app.app_context():
            # Asking for another branch makes it the project's, and so production's.
            db.session.execute(text("UPDATE projects SET branch = 'main'"))
            db.session.commit()
        build(app, id, {"/index.html": b"%d" % number})
        publish(app, id)
        assert api.get(f"/api/deployments/{id}").json["status"] == "success"
        return id

    return deploy


@pytest.fixture
def label(project):
    return project["url"].split("//")[1].split(".")[0]


def former(app, label):
    with app.app_context():
        return list(read_route(store(), label).former)


def let_pass(app, days):
    with app.app_context():
        earlier = "UPDATE former_deployments SET left_at = left_at - make_interval(days => :days)"
        db.session.execute(text(earlier), {"days": days})
        db.session.commit()


def test_production_names_what_it_showed_before_newest_first(app, api, deploy, label):
    ids = [deploy(number) for number in range(3)]
    assert former(app, label) == [ids[1], ids[0]]
    api.post(f"/api/deployments/{ids[0]}/promote")
    assert former(app, label) == [ids[2], ids[1]], "what is live again is not former"


def test_all_of_a_week_are_kept_and_the_last_ten_for_longer(app, deploy, label):
    ids = [deploy(number) for number in range(13)]
    assert former(app, label) == ids[-2::-1]
    let_pass(app, 8)
    ids.append(deploy(13))
    assert former(app, label) == ids[-2::-1][:10]


def test_a_preview_lends_to_its_own_host_only(app, deploy, label):
    first = deploy(1)
    previews = [deploy(number, branch="next") for number in range(2)]
    second = deploy(2)
    assert former(app, label) == [first]
    assert former(app, f"{label}-git-next") == [previews[0]]
    assert former(app, f"{label}-{second[:8]}") == []


def test_a_deleted_deployment_lends_nothing_from_then_on(app, api, deploy, label):
    ids = [deploy(number) for number in range(3)]
    assert api.delete(f"/api/deployments/{ids[0]}").status_code == 204
    assert former(app, label) == [ids[1]]
    assert former(app, f"{label}-git-main") == [ids[1]]


def test_a_name_that_is_free_again_lends_nothing(app, api, deploy, label, project):
    deploy(1)
    deploy(2)
    with app.app_context():
        assert api.delete(f"/api/projects/{project['id']}").status_code == 204
        hosts.write_all()
        route = read_route(store(), label)
    assert (route.removed, route.former) == (True, ())
