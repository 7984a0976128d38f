"""The wizard with GitHub connected: repositories to choose from, what they are, and a GitHub that is in trouble."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from flask import Flask
from sqlalchemy import select

from autostack.deployments.models import Deployment
from autostack.extensions import db
from tests.conftest import AppMaker
from tests.git_server import make_repository, serve_repositories
from tests.oauth import connect_github, registered_with
from tests.pages import fields, parsed, text_of
from tests.peers.github import API, GitHubPeer, PeerRepository
from tests.peers.google import GooglePeer
from tests.peers.oauth_server import Fault
from tests.people import Browser, Person, make_person
from tests.wizard import Tab

VITE = json.dumps({"scripts": {"build": "vite build"}, "devDependencies": {"vite": "^6.0.0"}}).encode()
NEXT_APP = json.dumps({"dependencies": {"next": "15"}}).encode()
LIST = "/deploy/_repositories"


@dataclass
class Hub:
    """An installation whose GitHub has its Git server here, and the browser of somebody who has connected it."""

    app: Flask
    browser: Browser
    site: str
    url: str


@pytest.fixture
def hub(
    app: Flask, make_app: AppMaker, github: GitHubPeer, google: GooglePeer, oauth_timeout_s: int, tmp_path: Path
) -> Iterator[Hub]:
    repository = make_repository(tmp_path / "octo" / "site", {"package.json": VITE})
    repository.commit({"index.html": "next"}, branch="next")
    files = {("main", "package.json"): VITE, ("main", "package-lock.json"): b"{}", ("next", "index.html"): b"hi"}
    files |= {("main", "apps/web/package.json"): NEXT_APP, ("main", "apps/web/src/page.tsx"): b""}
    github.repositories = [
        PeerRepository(1, "octo/site", True, branches=["main", "next"], files=files, readers=frozenset({"octo"})),
        PeerRepository(2, "octo/blog", pushed_at="2020-01-01T00:00:00Z"),
    ]
    known = {**registered_with(github, google), "repo_hosts_allowed": frozenset({"127.0.0.1"})}
    known["oauth_timeout_s"] = 20
    owner = make_person(make_app(**known), "Olga", "olga@example.com")
    connecting = Browser(make_app(**known)).sign_in(owner)
    connect_github(connecting, github)
    [token] = github.tokens
    with serve_repositories(tmp_path, ("x-access-token", token)) as git:
        # Where something stalls, the rest must come in that time.
        served = make_app(**{**known, "github_url": f"http://{git.host}", "oauth_timeout_s": max(oauth_timeout_s, 4)})
        yield Hub(served, Browser(served).sign_in(owner), git.url("octo/site"), f"http://{git.host}")


def choices(page: BeautifulSoup) -> list[str]:
    return [str(choice["value"]) for choice in page.select("#repositories button.choice")]


def chosen(hub: Hub, **form: str) -> str:
    """Choose the repository; return the path of its draft."""
    answered = hub.browser.post("/deploy", {"repository": "octo/site", **form})
    assert answered.status_code == 303, answered.text
    return str(answered.location).removesuffix("/configure")


def test_the_list_comes_after_the_page_and_without_javascript_when_asked_for(hub: Hub, github: GitHubPeer) -> None:
    github.calls.clear()
    first = parsed(hub.browser.get("/deploy"))
    assert (choices(first), first.select("#repositories")[0]["hx-trigger"]) == ([], "load")
    assert github.calls == []
    assert choices(parsed(hub.browser.get("/deploy?q="))) == ["octo/site", "octo/blog"]
    found = parsed(hub.browser.get(LIST, query_string={"q": "BLO"}))
    assert choices(found) == ["octo/blog"]
    assert text_of(parsed(hub.browser.get(LIST)).select("li")[0], ".tag") == "Private"
    assert "None of your repositories has “zzz”" in text_of(parsed(hub.browser.get(f"{LIST}?q=zzz")), "#repositories")


def test_a_repository_made_just_now_is_a_click_away(hub: Hub, github: GitHubPeer) -> None:
    [link] = parsed(hub.browser.get(f"{LIST}?q=o")).select("#repositories a[hx-get]")
    github.repositories.append(PeerRepository(3, "octo/new", pushed_at="2019-01-01T00:00:00Z"))
    known = ["octo/site", "octo/blog"]
    assert choices(parsed(hub.browser.get(f"{LIST}?q=o"))) == known
    assert choices(parsed(hub.browser.get(str(link["hx-get"])))) == [*known, "octo/new"]
    github.repositories.append(PeerRepository(4, "octo/newer", pushed_at="2018-01-01T00:00:00Z"))
    assert choices(parsed(hub.browser.get(f"{LIST}?q=o"))) == [*known, "octo/new"]
    assert choices(parsed(hub.browser.get(str(link["href"])))) == [*known, "octo/new", "octo/newer"]


def test_asking_github_anew_counts_towards_the_limit(app: Flask, make_app: AppMaker, alice: Person) -> None:
    browser = Browser(make_app(rate_limit_api="2/minute")).sign_in(alice)
    assert [browser.get(f"{LIST}?anew=1").status_code for _ in range(3)] == [200, 200, 429]


def test_a_private_repository_goes_through_all_three_steps(hub: Hub) -> None:
    path = chosen(hub)
    page = parsed(hub.browser.get(f"{path}/configure"))
    assert text_of(page, "#detected") == "Vite 6 npm ci · npm run build · dist"
    assert [page.select(f"#{name}")[0]["placeholder"] for name in ("installCommand", "buildCommand", "outputDir")] == [
        "npm ci",
        "npm run build",
        "dist",
    ]
    assert [str(option["value"]) for option in page.select("select[name=branch] option")] == ["main", "next"]
    hub.browser.post(f"{path}/configure", {"branch": "next"})
    summary = text_of(parsed(hub.browser.get(f"{path}/confirm")), ".summary")
    assert "A plain static site detected" in summary
    Tab(hub.browser, path).send(page="confirm")
    with hub.app.app_context():
        deployment = db.session.scalars(select(Deployment)).one()
        assert (deployment.snapshot["repository"], deployment.branch) == (hub.site, "next")


def test_what_is_detected_follows_branch_and_folder(hub: Hub) -> None:
    path = chosen(hub)
    for query, found in (
        ({"branch": "main", "rootDir": "apps/web"}, "Next.js 15"),
        ({"branch": "next"}, "A plain static site"),
        ({"branch": "main", "rootDir": "none"}, "The framework is detected when it is built"),
        ({"branch": "main", "rootDir": "../.."}, "The framework is detected when it is built"),
        ({"branch": "main", "rootDir": "a/b/c/d/e/f"}, "The framework is detected when it is built"),
        ({"branch": "gone"}, "The framework is detected when it is built"),
    ):
        answered = hub.browser.get(f"{path}/_detected", query_string=query)
        assert text_of(parsed(answered), "#detected").startswith(found), query


def test_a_package_json_that_is_none_is_not_guessed_at(hub: Hub, github: GitHubPeer) -> None:
    github.repositories[0].files["main", "package.json"] = b"{"
    page = parsed(hub.browser.get(f"{chosen(hub)}/configure"))
    assert "detected when it is built" in text_of(page, "#detected")


@pytest.mark.parametrize("fault", [Fault.ERROR, Fault.STALL, Fault.WRONG_SHAPE])
def test_a_github_in_trouble_leaves_the_address_usable(hub: Hub, github: GitHubPeer, fault: Fault) -> None:
    github.faults = {f"{API}/user/repos": fault, f"{API}/repos/octo/site/contents/": fault}
    page = parsed(hub.browser.get("/deploy?q="))
    assert "Any Git address works meanwhile." in text_of(page, "#repositories .note")
    assert page.select("input[name=repository]")
    path = chosen(hub)
    assert "detected when it is built" in text_of(parsed(hub.browser.get(f"{path}/configure")), "#detected")
    hub.browser.post(f"{path}/configure", {"branch": "main"})
    assert Tab(hub.browser, path).send(page="confirm").location == f"{path}/started"


def test_a_connection_that_was_ended_at_github_offers_to_connect_again(hub: Hub, github: GitHubPeer) -> None:
    github.tokens.clear()
    note = parsed(hub.browser.get(LIST)).select("#repositories .note")[0]
    assert "Connect it again" in note.get_text()
    assert fields(note, "form").keys() == {"csrf_token"}


def test_whoever_has_not_connected_is_offered_to(hub: Hub, charlie: Person) -> None:
    page = parsed(Browser(hub.app).sign_in(charlie).get("/deploy"))
    section: Any = page.select("[aria-labelledby=from-github]")[0]
    assert text_of(section, "form button") == "Connect GitHub"
    assert page.select("#repositories") == []


def test_an_installation_without_github_does_not_speak_of_it(browser: Browser) -> None:
    page = parsed(browser.get("/deploy"))
    assert page.select("[aria-labelledby=from-github]") == []
    assert "Connect GitHub" not in text_of(page, "main")
