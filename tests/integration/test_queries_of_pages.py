"""No page asks PostgreSQL more than a dozen times, however much it shows."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from autostack.accounts.models import Avatar
from autostack.admin import service as admin
from autostack.deployments import logs
from autostack.deployments.models import Deployment, DeploymentDraft
from autostack.deployments.status import Status
from autostack.extensions import db
from autostack.projects.models import SiteHost
from autostack.web.access import needs_sign_in
from tests.deployments import a_deployment, a_project
from tests.people import Browser

MOST = 12
PROJECTS, DEPLOYMENTS_EACH = 6, 5


@contextmanager
def statements(app) -> Iterator[list[str]]:
    """Collect the statements that are sent to PostgreSQL."""
    sent: list[str] = []

    def note(connection, cursor, statement, *_):
        sent.append(statement)

    with app.app_context():
        engine = db.engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def ids(app, alice, site):
    """What Alice, an admin, has pages of: many projects and deployments, with hosts and logs. Ids by first segment."""
    with app.app_context():
        admin.appoint(alice.email, is_superuser=True)
        now = datetime.now(UTC)
        projects = [a_project(alice, f"project-{number}") for number in range(PROJECTS)]
        for project in projects:
            for number in range(DEPLOYMENTS_EACH):
                id = a_deployment(alice, project, now - timedelta(days=number), Status.SUCCESS, 42)
                logs.append(id, [logs.Line("Building…")])
                db.session.add(SiteHost(label=f"d-{id.hex}", project_id=project, deployment_id=id, kind="deployment"))
        db.session.commit()
        deployment = db.session.query(Deployment).order_by(Deployment.sequence.desc()).first()
        draft = DeploymentDraft(
            id=uuid.uuid4(), user_id=alice.id, repository=site, default_branch="main", branches=["main"],
            form={"branch": "main"},
        )  # fmt: skip
        picture = Avatar(id=uuid.uuid4(), user_id=alice.id, data=b"picture")
        db.session.add_all([draft, picture])
        db.session.commit()
        by_feature = {"deployments": deployment.id, "projects": deployment.project_id, "deploy": draft.id}
        return {**by_feature, "avatars": picture.id}


def paths(app, ids):
    """Yield the address of each page for somebody signed in."""
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        is_page = "GET" in rule.methods and not rule.websocket and not rule.rule.startswith("/api/")
        if is_page and needs_sign_in(app.view_functions[rule.endpoint]):
            values = {name: ids[rule.rule.split("/")[1]] for name in rule.arguments if name == "id"}
            unknown = rule.arguments - values.keys() - set(rule.defaults or {})
            assert not unknown, f"{rule.rule}: say here what {unknown} is"
            yield adapter.build(rule.endpoint, values)


def test_no_page_asks_more_than_a_dozen_times(app, alice, ids):
    browser = Browser(app).sign_in(alice)
    asked, answers = {}, {}
    for path in paths(app, ids):
        with statements(app) as sent:
            answers[path] = browser.get(path).status_code
        asked[path] = sent
    assert {"/dashboard", "/deployments", f"/deployments/{ids['deployments']}"} <= asked.keys()
    assert {path: status for path, status in answers.items() if status not in (200, 301, 302, 303)} == {}
    assert {path: sent for path, sent in asked.items() if len(sent) > MOST} == {}
