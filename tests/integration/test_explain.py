"""What answers an address, on the project's page and on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from werkzeug.test import TestResponse

from autostack.cli import main
from autostack.settings import load_settings
from autostack.sites.rules.compile import compile_rules
from autostack.sites.store import open_store
from tests.builders import build, publish
from tests.pages import parsed
from tests.sites import publish as publish_site

RULES = {"_redirects": "/old/* /new/:splat\n/* /index.html 200", "_headers": "/*\n  X-A: <b>"}


@pytest.fixture
def live(app, api, project) -> str:
    """The path of the page of Alice's project, with a site that has rules."""
    deployment = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    build(app, deployment, {"/index.html": b"app", "/about.html": b"about"}, RULES)
    publish(app, deployment)
    return f"/projects/{project['id']}"


def told(answered: TestResponse) -> list[str]:
    lines = parsed(answered).select(".explain-steps li, .explain-headers li")
    return [" ".join(line.get_text(" ").split()) for line in lines]


def test_the_projects_page_asks_for_an_address_and_tells_what_answers(browser, live):
    form = parsed(browser.get(live)).select_one("form.explain-form")
    assert form["action"] == f"{live}/explain"
    shown = browser.get(f"{live}/explain?address=/old/x")
    assert shown.status_code == 200
    assert told(shown) == [
        "Rules before files There are none.",
        "Files The deployment has no file at this address.",
        "Rules after files _redirects:1 (/old/* /new/:splat) leads to /new/x with 301.",
        "_headers:1 X-A: <b>",
    ]
    assert "<h1>" in shown.text


def test_htmx_gets_the_box_alone(browser, live):
    box = browser.client.get(f"{live}/explain?address=/about", headers={"HX-Request": "true"}).text
    assert "<h1>" not in box
    assert "/about.html is the file at this address." in box


def test_an_address_in_full_is_explained_if_it_is_the_projects(app, api, browser, live, site):
    label = api.get(f"/api{live}").json["name"]
    assert "/index.html" in browser.get(f"{live}/explain?address=http://{label}.localhost:8080/x").text
    other = api.post("/api/projects", {"name": "other", "repository": site}).json
    deployment = api.post("/api/deployments", {"projectId": other["id"]}).json["id"]
    build(app, deployment, {"/index.html": b"app"})
    publish(app, deployment)
    for address, words in (
        ("other.localhost/", "no address of this project"),
        ("nobody.localhost/", "No site is served"),
        ("http://[/", "An address is written as"),
    ):
        refused = parsed(browser.get(f"{live}/explain?address={address}"))
        assert words in refused.select_one("#explain-error").text
        assert not refused.select(".explain-steps")


def test_a_stranger_learns_nothing(strangers_browser, live):
    assert strangers_browser.get(f"{live}/explain?address=/").status_code == 404


def test_the_command_line_tells_the_same(tmp_path: Path):
    store = open_store(load_settings(data_dir=tmp_path))
    rules = compile_rules({"_redirects": "/a /de 302 Language=de"}).rules
    publish_site(store, "ruled", {"/index.html": b"app"}, rules=rules)
    run = ["explain", "--data-dir", str(tmp_path)]
    answer = CliRunner().invoke(main, [*run, "ruled.localhost/a", "--header", "Accept-Language: de"])
    assert answer.exit_code == 0, answer.output
    assert answer.output.splitlines()[0] == "ruled.localhost/a  302"
    assert "_redirects:1 (/a /de 302 Language=de) leads to /de with 302." in answer.output
    refused = CliRunner().invoke(main, [*run, "nobody.localhost/"])
    assert refused.exit_code == 1
    assert "No site is served at nobody.localhost" in refused.output
