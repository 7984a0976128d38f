"""Retention: which old deployments go, and which never do."""

from __future__ import annotations

import uuid

import pytest
from sqlalchemy import text

from autostack.deployments import jobs, retention
from autostack.deployments.models import Deployment
from autostack.deployments.retention import Rule
from autostack.extensions import db
from autostack.projects.models import Project
from tests.builders import build, publish


@pytest.fixture
def deploy(app, api, project):
    """Deploy Alice's project once more; return the deployment's id."""

    def deploy(number: int, branch: str = "main") -> str:
        id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
        with app.app_context():
            db.session.execute(
                text("UPDATE deployments SET branch = :branch WHERE id = :id"), {"branch": branch, "id": id}
            )
            db.session.commit()
        build(app, id, {"/index.html": b"%d" % number})
        publish(app, id)
        return id

    return deploy


@pytest.fixture
def forget(app):
    """Have hosts lend nothing of what they showed before."""

    def forget() -> None:
        with app.app_context():
            db.session.execute(text("UPDATE site_hosts SET previous_deployment_id = NULL"))
            db.session.execute(text("DELETE FROM former_deployments"))
            db.session.commit()

    return forget


def keep(api, project, **rule):
    answered = api.patch(f"/api/projects/{project['id']}", rule)
    assert answered.status_code == 200, answered.text
    return answered.json


def age(app, ids, days):
    with app.app_context():
        aged = text("UPDATE deployments SET created_at = now() - make_interval(days => :days) WHERE id = ANY(:ids)")
        db.session.execute(aged, {"days": days, "ids": [uuid.UUID(id) for id in ids]})
        db.session.commit()


def expired(app, project):
    with app.app_context():
        return [str(id) for id in retention.expired(db.session.get(Project, uuid.UUID(project["id"])))]


def test_without_a_rule_everything_stays(app, project, deploy, forget):
    ids = [deploy(number) for number in range(3)]
    age(app, ids, 1_000)
    forget()
    assert expired(app, project) == []


def test_the_newest_stay_and_so_do_those_of_the_last_days(app, api, project, deploy, forget):
    ids = [deploy(number) for number in range(5)]
    age(app, ids[:3], 40)
    forget()
    keep(api, project, keepDeployments=1)
    assert expired(app, project) == ids[:4]
    keep(api, project, keepDeployments=1, keepDays=30)
    assert expired(app, project) == ids[:3]
    keep(api, project, keepDeployments=4, keepDays=30)
    assert expired(app, project) == ids[:1]
    keep(api, project, keepDeployments=None, keepDays=50)
    assert expired(app, project) == []


def test_what_visitors_may_be_shown_stays_however_old_it_is(app, api, project, deploy, forget):
    lonely, of_branch, live = deploy(1), deploy(2, "feature"), deploy(3)
    newer = [deploy(number) for number in (4, 5)]
    assert api.post(f"/api/deployments/{live}/promote").status_code == 200
    age(app, [lonely, of_branch, live, *newer], 100)
    keep(api, project, keepDays=1)
    # Production showed them lately: its visitors may still ask for their scripts, and it could be handed back to one.
    assert expired(app, project) == []
    forget()
    # The branch's address shows the newest of main.
    assert expired(app, project) == [lonely, newer[0]]


def test_what_is_under_way_stays(app, api, project, deploy, forget):
    deploy(1)
    waiting = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    forget()
    age(app, [waiting], 100)
    keep(api, project, keepDays=1)
    assert waiting not in expired(app, project)


def test_the_platforms_rule_stands_where_a_project_has_none(make_app, api, project, deploy, forget):
    ids = [deploy(number) for number in range(3)]
    forget()
    strict = make_app(keep_deployments=2)
    assert expired(strict, project) == ids[:1]
    keep(api, project, keepDays=5)
    assert expired(strict, project) == []
    assert expired(make_app(keep_days=7), project) == []


def test_old_deployments_are_deleted_as_their_owner_would_and_then_their_files(
    make_app, app, api, project, deploy, forget
):
    ids = [deploy(number) for number in range(3)]
    forget()
    keep(api, project, keepDeployments=1)
    with app.app_context():
        jobs.tidy_up()
        assert [str(id) for id in db.session.scalars(db.select(Deployment.id))] == [ids[2]]
    assert api.get(f"/api/deployments/{ids[0]}").status_code == 404


@pytest.fixture
def meanwhile(monkeypatch):
    """Have something happen after it was found which deployments are old."""

    def meanwhile(happens) -> None:
        find = retention.expired

        def then_it_happens(project):
            found = find(project)
            db.session.commit()
            happens()
            return found

        monkeypatch.setattr(retention, "expired", then_it_happens)

    return meanwhile


def test_what_visitors_were_shown_meanwhile_stays(app, api, project, deploy, forget, meanwhile):
    first, second, third = (deploy(number) for number in range(3))
    forget()
    keep(api, project, keepDeployments=1)

    def shown_for_a_moment():
        for id in (first, third):
            assert api.post(f"/api/deployments/{id}/promote").status_code == 200

    meanwhile(shown_for_a_moment)
    with app.app_context():
        retention.enforce(uuid.UUID(project["id"]))
    assert [api.get(f"/api/deployments/{id}").status_code for id in (first, second, third)] == [200, 404, 200]


def test_what_its_owner_deleted_meanwhile_stops_nothing(app, api, project, deploy, forget, meanwhile):
    first, second, third = (deploy(number) for number in range(3))
    forget()
    keep(api, project, keepDeployments=1)
    meanwhile(lambda: api.delete(f"/api/deployments/{first}"))
    with app.app_context():
        assert retention.enforce(uuid.UUID(project["id"])) is True
    assert [api.get(f"/api/deployments/{id}").status_code for id in (first, second, third)] == [404, 404, 200]


def test_a_rule_is_said_in_words():
    assert str(Rule(None, None)) == "all of them"
    assert str(Rule(1, 1)) == "the newest one and those of the last day"
    assert str(Rule(1_000, 30)) == "the newest 1,000 and those of the last 30 days"


@pytest.mark.parametrize("rule", [{"keepDeployments": 0}, {"keepDays": 3_651}, {"keepDays": "soon"}, {"keepDays": 1.5}])
def test_a_rule_that_makes_no_sense_is_refused(api, project, rule):
    refused = api.patch(f"/api/projects/{project['id']}", rule)
    assert refused.status_code == 422
    assert set(refused.json["error"]["details"]) == set(rule)


def test_a_rule_is_set_and_taken_away_on_the_projects_page(browser, api, project):
    page = f"/projects/{project['id']}/settings"
    shown = browser.get(page).text
    assert "all of them stay" in shown
    assert browser.post(page, {"keepDeployments": "20", "keepDays": "90"}).status_code == 303
    assert (api.get(f"/api/projects/{project['id']}").json["keepDeployments"]) == 20
    assert 'value="90"' in browser.get(page).text
    refused = browser.post(page, {"keepDays": "0"})
    assert (refused.status_code, "keepDays-error" in refused.text) == (422, True)
    assert browser.post(page, {"keepDeployments": "", "keepDays": ""}).status_code == 303
    kept = api.get(f"/api/projects/{project['id']}").json
    assert (kept["keepDeployments"], kept["keepDays"]) == (None, None)
