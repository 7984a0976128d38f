"""What a deployment changed, through the API and on its page."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Flask

from autostack.extensions import store
from autostack.sites import keys
from tests.builders import build, publish
from tests.people import Api, Browser

HTMX = {"HX-Request": "true"}


def deploy(app: Flask, api: Api, project: dict[str, Any], files: dict[str, bytes], **changes: str) -> str:
    """Deploy these files all the way, and return the deployment's id."""
    id: str = api.post("/api/deployments", {"projectId": project["id"], **changes}).json["id"]
    build(app, id, files)
    publish(app, id)
    return id


def test_a_deployment_is_compared_with_the_one_before_it(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    first = deploy(app, api, project, {"/index.html": b"one", "/old.css": b"gone"})
    second = deploy(app, api, project, {"/index.html": b"second", "/new.css": b"new"})
    shown = api.get(f"/api/deployments/{second}/changes").json
    assert shown == {
        "previousId": first,
        "added": 1,
        "changed": 1,
        "removed": 1,
        "unchanged": 0,
        "bytesBefore": 7,
        "bytesAfter": 9,
        "files": [
            {"path": "/index.html", "change": "changed", "bytesBefore": 3, "bytesAfter": 6},
            {"path": "/new.css", "change": "added", "bytesBefore": None, "bytesAfter": 3},
            {"path": "/old.css", "change": "removed", "bytesBefore": 4, "bytesAfter": None},
        ],
    }
    page = browser.get(f"/deployments/{second}/changes").text
    assert "<html" in page
    for words in ("/index.html", "1 added", "1 changed", "1 removed", "+2 Bytes", f"/deployments/{first}"):
        assert words in page
    assert f'href="/deployments/{second}/changes"' in browser.get(f"/deployments/{second}").text


def test_htmx_gets_the_fragment_alone(app: Flask, api: Api, browser: Browser, project: dict[str, Any]) -> None:
    id = deploy(app, api, project, {"/index.html": b"one"})
    answered = browser.get(f"/deployments/{id}/changes", headers=HTMX)
    assert "HX-Request" in answered.headers["Vary"]
    assert "<html" not in answered.text
    assert "The first deployment of main: 1 file, 3 Bytes" in " ".join(answered.text.split())


def test_the_first_deployment_of_a_branch_has_nothing_before_it(app: Flask, api: Api, project: dict[str, Any]) -> None:
    deploy(app, api, project, {"/index.html": b"one"})
    other = deploy(app, api, project, {"/index.html": b"two"}, branch="next")
    shown = api.get(f"/api/deployments/{other}/changes").json
    assert (shown["previousId"], shown["added"], shown["bytesBefore"]) == (None, 1, 0)


def test_the_same_files_are_no_change_and_a_failure_in_between_does_not_count(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    first = deploy(app, api, project, {"/index.html": b"one"})
    failed = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    api.post(f"/api/deployments/{failed}/cancel")
    again = deploy(app, api, project, {"/index.html": b"one"})
    shown = api.get(f"/api/deployments/{again}/changes").json
    assert (shown["previousId"], shown["unchanged"], shown["files"]) == (first, 1, [])
    assert "no file (1 file, 3 Bytes)" in browser.get(f"/deployments/{again}/changes").text


def test_files_that_are_not_known_any_more_are_said_to_be_so(
    app: Flask, api: Api, browser: Browser, project: dict[str, Any]
) -> None:
    first = deploy(app, api, project, {"/index.html": b"one"})
    second = deploy(app, api, project, {"/index.html": b"two"})
    with app.app_context():
        store().delete(keys.manifest(project["id"], first))
    answered = api.get(f"/api/deployments/{second}/changes")
    assert (answered.status_code, answered.json["error"]["code"]) == (404, "FILES_NOT_FOUND")
    page = browser.get(f"/deployments/{second}/changes")
    assert page.status_code == 200
    assert "not stored any more" in page.text


def test_what_did_not_succeed_cannot_be_compared(api: Api, browser: Browser, project: dict[str, Any]) -> None:
    id = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    answered = api.get(f"/api/deployments/{id}/changes")
    assert (answered.status_code, answered.json["error"]["code"]) == (409, "DEPLOYMENT_NOT_READY")
    assert browser.get(f"/deployments/{id}/changes", headers=HTMX).status_code == 409


def test_a_stranger_learns_nothing(
    app: Flask, api: Api, strangers_api: Api, strangers_browser: Browser, project: dict[str, Any]
) -> None:
    id = deploy(app, api, project, {"/index.html": b"one"})
    for other in (id, str(uuid.uuid4())):
        assert strangers_api.get(f"/api/deployments/{other}/changes").json["error"]["code"] == "DEPLOYMENT_NOT_FOUND"
        assert strangers_browser.get(f"/deployments/{other}/changes").status_code == 404
