"""What the wizard keeps: a draft a tab, for its owner only, which becomes one deployment or goes."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from flask import Flask
from sqlalchemy import delete, text

from autostack.builds.sweep import sweep
from autostack.deployments import drafts
from autostack.deployments.models import Deployment, DeploymentDraft
from autostack.extensions import db, redis
from tests.git_server import GitServer
from tests.people import Browser
from tests.wizard import Tab, begin, count, stored, table


def test_two_tabs_never_mix(app: Flask, browser: Browser, git_server: GitServer, site: str) -> None:
    one, other = begin(browser, repository=site), begin(browser, repository=git_server.url("other.git"))
    one.send({"branch": "next", "buildCommand": "one"})
    other.send({"branch": "main", "buildCommand": "other"})
    one.send(page="confirm")
    deployment = stored(app)
    assert (deployment.snapshot["repository"], deployment.snapshot["buildCommand"]) == (site, "one")
    assert other.get("confirm").select(".summary")[0].get_text().count("other") >= 2


def test_only_what_was_shown_is_deployed(app: Flask, browser: Browser, git_server: GitServer, site: str) -> None:
    tab = begin(browser, repository=site)
    tab.send({"branch": "main", "buildCommand": "make it", **table(("", "KEY", "1"))})
    shown = tab.version()
    changes = [{"branch": "next"}, {"branch": "next", "buildCommand": "make"}, {"branch": "next", "pasted": "KEY=2"}]
    for change in changes:
        tab.send(change)
        refused = tab.send({"version": shown}, "confirm")
        assert (refused.status_code, "changed in another tab" in refused.text) == (409, True)
        shown = tab.version()
        assert f'value="{shown}"' in refused.text
    begin(browser, repository=git_server.url("other.git"), draft=tab.path.split("/")[2])
    assert tab.send({"version": shown}, "confirm").status_code == 409
    assert tab.send({"version": ""}, "confirm").status_code == 409
    assert count(app, Deployment) == 0
    assert tab.send(page="confirm").status_code == 303


def test_a_draft_outlives_redis(app: Flask, browser: Browser, site: str, alice: Any) -> None:
    tab = begin(browser, repository=site)
    tab.send({"branch": "next"})
    with app.app_context():
        redis().flushall()
    again = Tab(Browser(app).sign_in(alice), tab.path)
    assert again.get().select("select[name=branch] [selected]")[0]["value"] == "next"
    assert again.send(page="confirm").status_code == 303


def test_the_button_pressed_often_and_at_once_deploys_once(app: Flask, browser: Browser, site: str, alice: Any) -> None:
    tab = begin(browser, repository=site)
    tabs = [Tab(Browser(app).sign_in(alice), tab.path) for _ in range(4)]
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda one: one.send(page="confirm"), tabs))
    # Whoever comes while it is being made is told so.
    assert {answered.status_code for answered in answers} == {303}
    assert {answered.location for answered in answers} <= {f"{tab.path}/started", f"{tab.path}/confirm"}
    assert tab.send(page="confirm").location == f"{tab.path}/started"
    assert count(app, Deployment) == 1


def test_what_was_deployed_cannot_be_changed_any_more(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    assert browser.get(f"{tab.path}/started").location == f"{tab.path}/confirm"
    tab.send(page="confirm")
    detail = f"/deployments/{stored(app).id}"
    for page in ("configure", "confirm"):
        assert browser.get(f"{tab.path}/{page}").location == detail
    for page in ("configure", "variables", "variables/x/remove"):
        answered = tab.send({"branch": "next"}, page)
        assert (answered.status_code, answered.location) == (303, detail)
    assert "This was deployed already." in browser.get(detail).text
    draft = tab.path.split("/")[2]
    assert begin(browser, repository=site, draft=draft).path != tab.path
    assert count(app, Deployment) == 1


def test_a_draft_goes_with_the_deployment_that_it_became(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    tab.send(page="confirm")
    with app.app_context():
        db.session.execute(delete(Deployment))
        db.session.commit()
    assert browser.get(f"{tab.path}/confirm").status_code == 404


def test_a_stranger_finds_no_draft(browser: Browser, strangers_browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    theirs = Tab(strangers_browser, tab.path)
    for page in ("configure", "confirm", "started", "_detected"):
        assert strangers_browser.get(f"{tab.path}/{page}").status_code == 404
    for page in ("configure", "confirm", "variables", "variables/x/remove"):
        assert theirs.send(page=page).status_code == 404
    draft = tab.path.split("/")[2]
    assert begin(strangers_browser, repository=site, draft=draft).path != tab.path


def test_of_many_drafts_the_last_twenty_are_kept(
    app: Flask, browser: Browser, strangers_browser: Browser, site: str
) -> None:
    others = begin(strangers_browser, repository=site)
    oldest = begin(browser, repository=site)
    with app.app_context():
        first = db.session.get(DeploymentDraft, uuid.UUID(oldest.path.split("/")[2]))
        assert first is not None
        columns = {"repository": site, "default_branch": "main", "branches": ["main"]}
        for _ in range(drafts.MAX_DRAFTS):
            db.session.add(DeploymentDraft(user_id=first.user_id, **columns))
        db.session.commit()
    begin(browser, repository=site)
    assert browser.get(f"{oldest.path}/configure").status_code == 404
    assert others.get()
    assert count(app, DeploymentDraft) == drafts.MAX_DRAFTS + 1


def test_drafts_go_after_a_week(app: Flask, browser: Browser, git_server: GitServer, site: str) -> None:
    old, fresh = begin(browser, repository=site), begin(browser, repository=git_server.url("other.git"))
    with app.app_context():
        gone = text("UPDATE deployment_drafts SET updated_at = now() - interval '8 days' WHERE id = :id")
        db.session.execute(gone, {"id": old.path.split("/")[2]})
        db.session.commit()
        assert browser.get(f"{old.path}/configure").status_code == 404
        sweep()
    assert count(app, DeploymentDraft) == 1
    assert fresh.get()
