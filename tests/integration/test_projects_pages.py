"""Projects on pages."""

from __future__ import annotations

import io
import re

import pytest
from bs4 import BeautifulSoup
from flask import Flask
from PIL import Image
from sqlalchemy import select, update
from werkzeug.test import TestResponse

from autostack.deployments.models import Deployment
from autostack.extensions import db
from autostack.projects import overview, service
from autostack.projects.models import Project, SiteHost
from autostack.projects.previews import MAX_PICTURE_BYTES
from tests.builders import build, publish
from tests.deployments import a_project
from tests.git_server import GitServer
from tests.pages import links, parsed, text_of
from tests.people import Api, Browser, Person

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20
TABS = ("deployments", "traffic", "settings", "environment", "domains", "access", "danger")


def drawn_picture(size: tuple[int, int]) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", size, "teal").save(written, "PNG")
    return written.getvalue()


@pytest.fixture
def page(browser: Browser, site: str) -> str:
    """The path of the page of Alice's project."""
    answered = browser.post("/projects/new", {"name": "Site", "repository": site, "envVars": "KEY=sk-live-0123456789"})
    assert answered.status_code == 303, answered.text
    return answered.location


def stored(app: Flask) -> Project:
    with app.app_context():
        return db.session.scalars(select(Project)).one()


def test_a_project_is_made_on_the_page_and_listed(browser: Browser, strangers_browser: Browser, page: str) -> None:
    assert re.fullmatch(r"/projects/[0-9a-f-]{36}", page)
    assert "site.localhost:8080" in browser.get(page).text
    assert page in browser.get("/projects").text
    assert page not in strangers_browser.get("/projects").text
    assert browser.get("/projects/new").status_code == 200


def test_empty_fields_are_detected(app: Flask, browser: Browser, site: str) -> None:
    fields = dict.fromkeys(
        ["name", "branch", "rootDir", "installCommand", "buildCommand", "outputDir", "nodeVersion"], ""
    )
    browser.post("/projects/new", {**fields, "repository": site, "envVars": " "})
    project = stored(app)
    assert (project.name, project.branch, project.env_vars) == ("site", "main", None)
    assert (project.build_command, project.output_dir, project.install_command) == (None, None, None)


def test_a_wrong_field_is_said_where_it_stands_and_what_was_typed_comes_back(
    browser: Browser, git_server: GitServer, site: str
) -> None:
    answered = browser.post("/projects/new", {"name": "Typed", "repository": site, "branch": "missing"})
    assert answered.status_code == 422
    assert "no branch missing" in answered.text
    assert 'value="Typed"' in answered.text
    empty = browser.post("/projects/new", {"repository": git_server.url("empty.git")})
    assert "empty" in empty.text
    assert browser.post("/projects/new", {"name": "No address"}).status_code == 422


def test_a_taken_name_is_said_on_the_page(browser: Browser, page: str, site: str) -> None:
    answered = browser.post("/projects/new", {"name": "Site", "repository": site})
    assert answered.status_code == 409
    assert "You have a project named Site already." in answered.text


def test_settings_show_how_it_is_built_and_nothing_of_the_variables(browser: Browser, page: str, site: str) -> None:
    shown = browser.get(f"{page}/settings").text
    assert site in shown
    assert "sk-live" not in shown


def test_settings_are_saved(app: Flask, browser: Browser, page: str) -> None:
    answered = browser.post(f"{page}/settings", {"name": "New", "branch": "next", "buildCommand": "make"})
    assert (answered.status_code, answered.location) == (303, f"{page}/settings")
    project = stored(app)
    assert (project.name, project.branch, project.build_command) == ("New", "next", "make")
    with app.app_context():
        assert service.variables_of(project) == {"KEY": "sk-live-0123456789"}


def test_an_untouched_form_keeps_a_command_that_was_set_to_none(app: Flask, browser: Browser, page: str) -> None:
    with app.app_context():
        db.session.execute(update(Project).values(build_command="", install_command="npm ci"))
        db.session.commit()
    browser.post(f"{page}/settings", {"buildCommand": "", "installCommand": ""})
    project = stored(app)
    assert (project.build_command, project.install_command) == ("", None)


def filled_in(browser: Browser, page: str) -> dict[str, str]:
    """Return what the form of a project's settings sends as it is."""
    inputs = parsed(browser.get(f"{page}/settings")).select("main form[action$=settings] input[name]")
    return {str(field["name"]): str(field.get("value", "")) for field in inputs if field["name"] != "csrf_token"}


def test_what_pages_that_are_not_there_get_is_chosen_on_the_settings_page(
    app: Flask, api: Api, browser: Browser, page: str
) -> None:
    chosen = parsed(browser.get(f"{page}/settings")).select("#fallback option[selected]")
    assert [option["value"] for option in chosen] == ["auto"]
    older = filled_in(browser, page)
    assert browser.post(f"{page}/settings", {**older, "fallback": "spa"}).status_code == 303
    assert stored(app).fallback == "spa"
    chosen = parsed(browser.get(f"{page}/settings")).select("#fallback option[selected]")
    assert [option.get_text() for option in chosen] == ["Single-page app: always index.html"]
    # An older page is told what it would replace in the words that it shows.
    refused = browser.post(f"{page}/settings", {**older, "fallback": "none"})
    assert refused.status_code == 409
    said = text_of(BeautifulSoup(refused.text, "html.parser"), "#fallback-error")
    assert "changed meanwhile, to “Single-page app: always index.html”" in said
    for wrong in ("always", ""):
        assert browser.post(f"{page}/settings", {"fallback": wrong}).status_code == 422
    assert stored(app).fallback == "spa"


def test_an_older_page_of_settings_undoes_nothing_that_was_changed_since(
    app: Flask, api: Api, browser: Browser, page: str
) -> None:
    older = filled_in(browser, page)
    api.patch(f"/api{page}", {"buildCommand": "make new", "outputDir": "public"})
    assert browser.post(f"{page}/settings", {**older, "name": "Renamed"}).status_code == 303
    found = stored(app)
    assert (found.name, found.build_command, found.output_dir) == ("Renamed", "make new", "public")


def test_who_types_over_what_somebody_else_changed_meanwhile_is_told_first(
    app: Flask, api: Api, browser: Browser, page: str
) -> None:
    older = filled_in(browser, page)
    api.patch(f"/api{page}", {"buildCommand": "make theirs", "outputDir": "public"})
    refused = browser.post(f"{page}/settings", {**older, "buildCommand": "make mine"})
    assert refused.status_code == 409
    again = BeautifulSoup(refused.text, "html.parser")
    assert "changed meanwhile, to “make theirs”" in text_of(again, "#buildCommand-error")
    assert stored(app).build_command == "make theirs"
    inputs = again.select("main form[action$=settings] input[name]")
    anew = {str(field["name"]): str(field.get("value", "")) for field in inputs if field["name"] != "csrf_token"}
    assert browser.post(f"{page}/settings", anew).status_code == 303
    found = stored(app)
    assert (found.build_command, found.output_dir) == ("make mine", "public")


def test_a_name_is_no_longer_on_the_pages_than_it_may_be(browser: Browser, page: str) -> None:
    for path in (f"{page}/settings", "/projects/new"):
        assert parsed(browser.get(path)).select_one("#name")["maxlength"] == str(service.MAX_NAME_CHARACTERS)  # type: ignore[index]


def test_addresses_that_are_not_shown_are_told_of(app: Flask, browser: Browser, page: str) -> None:
    project_id = stored(app).id
    branches = [{"label": f"b-{number}", "branch": f"{number}"} for number in range(overview.MAX_ADDRESSES)]
    with app.app_context():
        db.session.add_all(SiteHost(**branch, project_id=project_id, kind="branch") for branch in branches[1:])
        db.session.commit()
        assert "These are the first" not in browser.get(f"{page}/domains").text
        db.session.add(SiteHost(**branches[0], project_id=project_id, kind="branch"))
        db.session.commit()
    shown = parsed(browser.get(f"{page}/domains"))
    assert len(shown.select("[aria-labelledby=addresses] li")) == overview.MAX_ADDRESSES
    assert "These are the first 100." in text_of(shown, "[aria-labelledby=addresses] .field-hint")


def test_wrong_settings_change_nothing(app: Flask, browser: Browser, page: str) -> None:
    answered = browser.post(f"{page}/settings", {"name": "New", "rootDir": "/etc"})
    assert answered.status_code == 422
    assert 'value="/etc"' in answered.text
    assert browser.post(f"{page}/settings", {"name": ""}).status_code == 422
    assert stored(app).name == "Site"


def test_a_project_that_was_rolled_back_is_resumed(app: Flask, browser: Browser, page: str) -> None:
    with app.app_context():
        db.session.execute(update(Project).values(auto_promote=False))
        db.session.commit()
    for path in (page, f"{page}/danger"):
        assert parsed(browser.get(path)).select("form[action$=resume]")
    assert browser.post(f"{page}/resume").location == page
    assert stored(app).auto_promote
    assert not parsed(browser.get(page)).select("form[action$=resume]")


@pytest.mark.parametrize("typed", ["", "site", "Site "])
def test_a_project_is_not_deleted_without_its_name(browser: Browser, page: str, typed: str) -> None:
    refused = browser.post(f"{page}/delete", {"confirm": typed})
    assert refused.status_code == 422
    assert "Type Site to have it deleted." in refused.text
    assert browser.get(page).status_code == 200


def test_a_project_is_deleted_with_its_name_typed(browser: Browser, page: str) -> None:
    [form] = parsed(browser.get(f"{page}/danger")).select(".danger-form")
    assert browser.post(str(form["action"]), {"confirm": "Site"}).location == "/projects"
    assert browser.get(page).status_code == 404


def test_strangers_and_nobody_reach_nothing(
    browser: Browser, strangers_browser: Browser, nobodys_browser: Browser, page: str
) -> None:
    for path in (page, *(f"{page}/{tab}" for tab in TABS), f"{page}/icon"):
        assert strangers_browser.get(path).status_code == 404
        assert nobodys_browser.get(path).location == f"/login?next={path}"
    for path in (f"{page}/settings", f"{page}/resume", f"{page}/delete"):
        assert strangers_browser.post(path, {"name": "Mine"}).status_code == 404
        assert nobodys_browser.post(path).location.startswith("/login")
        assert browser.client.post(path).status_code == 400
    assert nobodys_browser.post("/projects/new").location.startswith("/login")
    assert browser.get(page).status_code == 200


def test_a_projects_pages_know_what_was_deployed_and_what_is_live(app: Flask, page: str) -> None:
    with app.app_context():
        project = db.session.scalars(select(Project)).one()
        assert (overview.latest_deployments([project]), overview.live_deployment(project)) == ({}, None)
        older, newer = (
            Deployment(project_id=project.id, user_id=project.user_id, label=label)
            for label in ("site-00000001", "site-00000002")
        )
        for deployment in (older, newer):
            db.session.add(deployment)
            db.session.flush()
        db.session.execute(update(SiteHost).values(deployment_id=older.id))
        assert overview.recent_deployments(project) == [newer, older]
        assert overview.recent_deployments(project, limit=1) == [newer]
        assert overview.latest_deployments([project]) == {project.id: newer}
        assert overview.live_deployment(project) == older


@pytest.mark.parametrize("path", ["delete", "resume"])
def test_get_changes_nothing(browser: Browser, page: str, path: str) -> None:
    assert browser.get(f"{page}/{path}").status_code == 405
    assert browser.get(page).status_code == 200


# The list


def test_projects_are_found_by_name_and_by_repository(browser: Browser, page: str, site: str, git_server: GitServer):
    browser.post("/projects/new", {"name": "Other", "repository": git_server.url("other.git")})

    def names(search: str) -> list[str]:
        cards = parsed(browser.get("/projects", query_string={"search": search})).select(".project-card h2")
        return [card.get_text(strip=True) for card in cards]

    assert names("") == ["Other", "Site"]
    assert names("SIT") == names("site.git") == ["Site"]
    assert names("%") == []
    found = parsed(browser.get("/projects?search=nothing"))
    assert text_of(found, ".empty-state h2") == "No project matches"
    assert links(found.select_one(".empty-state")) == {"/projects"}  # type: ignore[arg-type]


def test_many_projects_are_read_page_by_page_and_the_pager_keeps_the_search(
    app: Flask, browser: Browser, alice: Person
) -> None:
    with app.app_context():
        for number in range(5):
            a_project(alice, f"shop-{number}")
        a_project(alice, "else")

    first = parsed(browser.get("/projects?search=shop&limit=3"))
    assert [text_of(card, "h2") for card in first.select(".project-card")] == ["shop-4", "shop-3", "shop-2"]
    assert "Page 1 of 2 · 5 in all" in text_of(first, ".pager")
    [onward] = [str(link["href"]) for link in first.select(".pager a[href]")]
    second = parsed(browser.get(onward))
    assert [text_of(card, "h2") for card in second.select(".project-card")] == ["shop-1", "shop-0"]
    assert links(parsed(browser.get("/projects?page=9")).select_one(".empty-state")) == {"/projects"}  # type: ignore[arg-type]


def test_a_new_account_is_led_to_deploy(browser: Browser) -> None:
    assert links(parsed(browser.get("/projects")).select_one(".empty-state")) == {"/deploy"}  # type: ignore[arg-type]


# A project's own pages


@pytest.fixture
def live(app: Flask, api: Api, browser: Browser, page: str) -> str:
    """The id of a deployment of Alice's project that is live, with an icon."""
    id = api.post("/api/deployments", {"projectId": page.rpartition("/")[2]}).json["id"]
    front = b"<title>Hi</title><link rel='shortcut icon' href='assets/logo.png?v=2'>"
    build(app, id, {"/index.html": front, "/assets/logo.png": PNG})
    publish(app, id)
    return str(id)


def test_each_tab_leads_to_all_others(browser: Browser, page: str) -> None:
    for path in (page, *(f"{page}/{tab}" for tab in TABS)):
        [nav] = parsed(browser.get(path)).select("nav[aria-label=Project]")
        assert links(nav) == {page, *(f"{page}/{tab}" for tab in TABS)}
        assert [link["href"] for link in nav.select("[aria-current]")] == [path]


def test_a_project_leads_to_its_site_once_something_is_live(browser: Browser, page: str, api: Api, app: Flask) -> None:
    assert "http://site.localhost:8080" not in links(parsed(browser.get(page)))
    assert text_of(parsed(browser.get(page)), ".empty-state h2") == "Nothing deployed yet"
    assert "Shows nothing yet" in text_of(parsed(browser.get(f"{page}/domains")), ".ways-list")


def test_what_is_live_is_visited_from_everywhere(browser: Browser, page: str, live: str) -> None:
    for path in ("/projects", page, *(f"{page}/{tab}" for tab in TABS)):
        assert "http://site.localhost:8080" in links(parsed(browser.get(path)))
    addresses = parsed(browser.get(f"{page}/domains")).select(".ways-list li")
    assert [" ".join(address.get_text(" ").split()) for address in addresses] == [
        "site.localhost:8080 – Production",
        "site-git-main.localhost:8080 – main",
    ]
    [row] = parsed(browser.get(f"{page}/deployments")).select("tbody tr")
    assert row["id"] == f"row-{live}"


def test_a_projects_deployments_go_on_from_page_to_page(browser: Browser, api: Api, page: str) -> None:
    made = [api.post("/api/deployments", {"projectId": page.rpartition("/")[2]}).json["id"] for _ in range(5)]
    first = parsed(browser.get(f"{page}/deployments?limit=3"))
    assert [row["id"] for row in first.select("tbody tr")] == [f"row-{id}" for id in made[:1:-1]]
    [older] = [str(link["href"]) for link in first.select(".pager a[href]")]
    rest = parsed(browser.get(f"{older}&limit=3"))
    assert [row["id"] for row in rest.select("tbody tr")] == [f"row-{id}" for id in made[1::-1]]


# The icon


def icon(browser: Browser, page: str) -> TestResponse:
    [shown] = parsed(browser.get(page)).select(".project-mark img")
    return browser.get(str(shown["src"]))


def test_a_live_sites_own_icon_stands_for_its_project(browser: Browser, page: str, live: str) -> None:
    answered = icon(browser, page)
    assert (answered.mimetype, answered.data) == ("image/png", PNG)
    assert answered.headers["Content-Security-Policy"].endswith("sandbox")
    assert answered.headers["X-Content-Type-Options"] == "nosniff"
    assert answered.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert browser.get(f"{page}/icon").headers["Cache-Control"] == "no-store"
    [listed] = parsed(browser.get("/projects")).select(".project-mark img")
    assert listed["src"] == f"{page}/icon?of={live}"


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (drawn_picture((1200, 630)), "image/webp"),
        (b"<svg onload=alert(1)>", "image/svg+xml"),
        (PNG, "image/svg+xml"),
        (b"\0" * (MAX_PICTURE_BYTES + 1), "image/svg+xml"),
    ],
)
def test_a_live_site_is_previewed_by_its_own_picture_or_its_own_words(
    app: Flask, browser: Browser, api: Api, page: str, picture: bytes, kind: str
) -> None:
    front = b"<title>Notes</title><meta property=og:image content=/card.png>"
    id = api.post("/api/deployments", {"projectId": page.rpartition("/")[2]}).json["id"]
    assert not parsed(browser.get("/projects")).select(".project-preview img")
    build(app, id, {"/index.html": front, "/card.png": picture})
    publish(app, id)
    [shown] = parsed(browser.get("/projects")).select(".project-preview img")
    answered = browser.get(str(shown["src"]))
    assert answered.mimetype == kind
    assert answered.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    assert answered.headers["Content-Security-Policy"].endswith("sandbox")
    if kind == "image/webp":
        with Image.open(io.BytesIO(answered.data)) as opened:
            assert opened.size == (640, 320)
    else:
        assert ">Notes</text>" in answered.text


def test_a_project_without_an_icon_has_its_letter(app: Flask, browser: Browser, api: Api, page: str) -> None:
    assert text_of(parsed(browser.get(page)), ".project-mark") == "S"
    id = api.post("/api/deployments", {"projectId": page.rpartition("/")[2]}).json["id"]
    build(
        app, id, {"/index.html": b"<link rel=icon href=/not-there.png>", "/favicon.ico": b"<script>alert(1)</script>"}
    )
    publish(app, id)
    answered = icon(browser, page)
    assert answered.mimetype == "image/svg+xml"
    assert ">S</text>" in answered.text
