"""What a user of GitHub can deploy: repositories and branches, asked of a GitHub that is as it is, or in trouble."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import text

from autostack.extensions import db, redis
from tests.conftest import AppMaker
from tests.log_lines import recorded
from tests.oauth import connect_github, registered_with
from tests.peers.github import API, GitHubPeer, PeerRepository
from tests.peers.google import GooglePeer
from tests.peers.oauth_server import Answer, Fault
from tests.people import Api, Browser, Person, make_person

REPOS = "/api/github/repos"
OCTO = frozenset({"octo"})
AWAY = pytest.mark.parametrize("fault", list(Fault))


@pytest.fixture
def owner(oauth_app: Flask, github: GitHubPeer) -> Person:
    """Somebody who has connected GitHub, where three repositories are theirs to read."""
    github.repositories = [
        PeerRepository(1, "octo/old", pushed_at="2024-01-01T00:00:00Z"),
        PeerRepository(2, "octo/Secret", True, "trunk", "2026-02-01T00:00:00Z", ["next", "trunk"], readers=OCTO),
        PeerRepository(3, "team/site", pushed_at="2025-01-01T00:00:00Z"),
        PeerRepository(4, "team/hidden", True),
    ]
    person = make_person(oauth_app, "Olga", "olga@example.com")
    connect_github(Browser(oauth_app).sign_in(person), github)
    return person


@pytest.fixture
def owners_api(oauth_app: Flask, owner: Person) -> Api:
    return Api(oauth_app, owner.token)


def names(answered: Any) -> list[str]:
    assert answered.status_code == 200, answered.text
    return [repository["fullName"] for repository in answered.json["repositories"]]


def refused(answered: Any) -> tuple[int, str]:
    return answered.status_code, answered.json["error"]["code"]


def test_repositories_come_last_pushed_to_first_with_what_a_deployment_needs(owners_api: Api) -> None:
    answered = owners_api.get(REPOS)
    assert names(answered) == ["octo/Secret", "team/site", "octo/old"]
    assert answered.json["truncated"] is False
    assert answered.json["repositories"][0] == {
        "id": "2",
        "name": "Secret",
        "fullName": "octo/Secret",
        "private": True,
        "defaultBranch": "trunk",
        "pushedAt": "2026-02-01T00:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("q", "found"), [("SEC", ["octo/Secret"]), ("octo/", ["octo/Secret", "octo/old"]), (" site ", ["team/site"])]
)
def test_a_search_looks_into_owner_and_name(owners_api: Api, q: str, found: list[str]) -> None:
    assert names(owners_api.get(REPOS, query_string={"q": q})) == found
    assert owners_api.get(REPOS, query_string={"q": "x" * 256}).status_code == 422


def test_every_page_is_read_and_of_very_many_the_first_thousand(owners_api: Api, github: GitHubPeer) -> None:
    github.repositories = [PeerRepository(number, f"octo/r{number}") for number in range(1, 251)]
    assert len(names(owners_api.get(REPOS))) == 250
    redis_is_emptied(owners_api)
    github.repositories = [PeerRepository(number, f"octo/r{number}") for number in range(1, 1102)]
    many = owners_api.get(REPOS)
    assert (len(names(many)), many.json["truncated"]) == (1000, True)


def redis_is_emptied(api: Api) -> None:
    with api.client.application.app_context():
        redis().flushall()


def test_githubs_answer_is_remembered_for_five_minutes_and_per_connection(
    oauth_app: Flask, owner: Person, owners_api: Api, github: GitHubPeer
) -> None:
    names(owners_api.get(REPOS))
    names(owners_api.get(REPOS, query_string={"q": "old"}))
    assert github.calls.count(f"GET {API}/user/repos") == 1
    with oauth_app.app_context():
        [key] = redis().keys("autostack:github:*")
        assert 60 < redis().ttl(key) <= 300
    github.account |= {"id": 7, "login": "other"}
    connect_github(Browser(oauth_app).sign_in(owner), github)
    assert names(owners_api.get(REPOS)) == ["team/site", "octo/old"]


def test_without_redis_github_is_asked_each_time(
    app: Flask, make_app: AppMaker, owner: Person, github: GitHubPeer, google: GooglePeer
) -> None:
    without = make_app(**registered_with(github, google), redis_url="redis://127.0.0.1:1/0")
    api = Api(without, owner.token)
    for _ in range(2):
        assert len(names(api.get(REPOS))) == 3
    assert github.calls.count(f"GET {API}/user/repos") == 2


def test_what_an_older_version_remembered_is_asked_again(oauth_app: Flask, owners_api: Api) -> None:
    names(owners_api.get(REPOS))
    with oauth_app.app_context():
        redis().set(redis().keys("autostack:github:*")[0], json.dumps({"found": "?"}))
    assert len(names(owners_api.get(REPOS))) == 3


def test_branches_come_with_the_default_one_first(owners_api: Api) -> None:
    by_name, in_full = owners_api.get(f"{REPOS}/secret/branches"), owners_api.get(f"{REPOS}/octo/Secret/branches")
    assert in_full.json == {
        "branches": [
            {"name": "trunk", "commit": "0" * 40, "isDefault": True},
            {"name": "next", "commit": "0" * 40, "isDefault": False},
        ],
        "truncated": False,
    }
    assert by_name.json == in_full.json


def test_a_repository_that_is_younger_than_the_list_is_found_by_its_name(
    oauth_app: Flask, owners_api: Api, github: GitHubPeer
) -> None:
    names(owners_api.get(REPOS))
    github.repositories.append(PeerRepository(5, "octo/new"))
    assert "octo/new" not in names(owners_api.get(REPOS))
    assert owners_api.get(f"{REPOS}/new/branches").status_code == 200
    assert "octo/new" in names(owners_api.get(REPOS))
    with oauth_app.app_context():
        [key] = redis().keys("autostack:github:*:branches:*")
        assert 0 < redis().ttl(key) <= 60


def test_branches_are_read_over_all_pages(owners_api: Api, github: GitHubPeer) -> None:
    github.repositories[0].branches = [f"b{number}" for number in range(150)] + ["main"]
    branches = owners_api.get(f"{REPOS}/octo/old/branches").json["branches"]
    assert (len(branches), branches[0]["name"]) == (151, "main")


@pytest.mark.parametrize(
    "path", ["octo/none", "none", "team/hidden", "octo/..", "octo/%2e%2e", "a%3Fb/c", "octo/a%20b"]
)
def test_a_repository_that_github_does_not_show_is_not_found(owners_api: Api, path: str) -> None:
    assert refused(owners_api.get(f"{REPOS}/{path}/branches")) == (404, "GITHUB_REPOSITORY_NOT_FOUND")


def test_whoever_has_not_connected_is_told_so(oauth_app: Flask, alice: Person, github: GitHubPeer) -> None:
    api = Api(oauth_app, alice.token)
    for path in (REPOS, f"{REPOS}/site/branches", f"{REPOS}/octo/site/branches"):
        assert refused(api.get(path)) == (409, "GITHUB_NOT_CONNECTED")
    assert github.calls == []


def test_an_installation_that_forgot_github_asks_it_nothing(app: Flask, owner: Person, github: GitHubPeer) -> None:
    github.calls.clear()
    assert refused(Api(app, owner.token).get(REPOS)) == (409, "GITHUB_NOT_CONNECTED")
    assert github.calls == []


def test_a_token_that_was_taken_back_at_github_asks_for_a_new_connection(owners_api: Api, github: GitHubPeer) -> None:
    github.tokens.clear()
    answered = owners_api.get(REPOS)
    assert refused(answered) == (409, "GITHUB_NOT_CONNECTED")
    assert "Connect it again" in answered.json["error"]["message"]


def test_a_token_whose_key_is_gone_asks_for_a_new_connection(oauth_app: Flask, owners_api: Api) -> None:
    with oauth_app.app_context():
        db.session.execute(text("UPDATE github_connections SET github_access_token = 'of another key'"))
        db.session.commit()
    assert refused(owners_api.get(REPOS)) == (409, "GITHUB_NOT_CONNECTED")


@pytest.mark.parametrize(
    "answer",
    [
        Answer({"message": "API rate limit exceeded"}, 403, headers={"X-RateLimit-Remaining": "0"}),
        Answer({"message": "You have exceeded a secondary rate limit"}, 403, headers={"Retry-After": "60"}),
        Answer({"message": "Too many requests"}, 429),
    ],
)
def test_a_github_that_has_had_enough_is_busy(owners_api: Api, github: GitHubPeer, answer: Answer) -> None:
    github.answers[f"{API}/user/repos"] = answer
    assert refused(owners_api.get(REPOS)) == (503, "GITHUB_UNAVAILABLE")
    github.answers.clear()
    assert len(names(owners_api.get(REPOS))) == 3


@AWAY
def test_a_github_in_trouble_is_said_so_in_time_and_nothing_of_it_is_kept(
    oauth_app: Flask, owners_api: Api, github: GitHubPeer, fault: Fault
) -> None:
    github.faults[f"{API}/user/repos"] = fault
    [token] = github.tokens
    with recorded(oauth_app.config["AUTOSTACK"]) as lines:
        assert refused(owners_api.get(REPOS)) == (502, "GITHUB_UNAVAILABLE")
    said = lines.read()
    assert "no usable answer" in said
    assert token not in said
    github.faults.clear()
    assert len(names(owners_api.get(REPOS))) == 3


def test_the_token_follows_no_link_to_another_host(owners_api: Api, github: GitHubPeer, google: GooglePeer) -> None:
    link = {"Link": f'<{google.url}/user/repos?page=2>; rel="next"'}
    github.answers[f"{API}/user/repos"] = Answer([], headers=link)
    assert refused(owners_api.get(REPOS)) == (502, "GITHUB_UNAVAILABLE")
    assert google.calls == []


def test_a_stranger_sees_nothing_of_it(oauth_app: Flask, owners_api: Api, charlie: Person) -> None:
    names(owners_api.get(REPOS))
    assert refused(Api(oauth_app, charlie.token).get(REPOS)) == (409, "GITHUB_NOT_CONNECTED")
    assert refused(Api(oauth_app).get(REPOS)) == (401, "UNAUTHORIZED")
