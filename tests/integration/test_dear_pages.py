"""Pages that ask Git, the object store or a whole log cost more than others: each has a limit, as its API twin has."""

from __future__ import annotations

import pytest
from flask import Flask

from tests.conftest import AppMaker
from tests.people import Api, Browser, Person

ONCE = "1/hour"
VIEWS = (
    "/projects/{project}/icon",
    "/projects/{project}/preview",
    "/projects/{project}/explain?address=/",
    "/search?q=a",
)


@pytest.fixture
def ids(api: Api, project: dict[str, str]) -> dict[str, str]:
    deployment = api.post("/api/deployments", {"projectId": project["id"]}).json["id"]
    return {"project": project["id"], "deployment": deployment}


@pytest.fixture
def limited(app: Flask, ids: dict[str, str], make_app: AppMaker, alice: Person) -> Browser:
    """Alice's browser, where each limit of the API's is one request an hour."""
    return Browser(make_app(rate_limit_api=ONCE, repo_hosts_allowed=frozenset({"127.0.0.1"}))).sign_in(alice)


def test_making_a_project_and_changing_one_ask_its_repository(limited: Browser, ids: dict[str, str], site: str) -> None:
    assert limited.post("/projects/new", {"name": "one", "repository": site}).status_code == 303
    assert limited.post("/projects/new", {"name": "two", "repository": site}).status_code == 429
    # One count for both: it is the same work.
    assert limited.post(f"/projects/{ids['project']}/settings", {"branch": "next"}).status_code == 429


@pytest.mark.parametrize("path", ["/deployments/{deployment}?search=a", "/deployments/{deployment}/changes"])
def test_searching_a_log_and_comparing_lists_of_files_have_a_limit(
    limited: Browser, ids: dict[str, str], path: str
) -> None:
    # What has no files yet has nothing to compare.
    assert limited.get(path.format(**ids)).status_code in (200, 409)
    assert limited.get(path.format(**ids)).status_code == 429


def test_a_deployments_page_itself_has_none(limited: Browser, ids: dict[str, str]) -> None:
    assert [limited.get(f"/deployments/{ids['deployment']}").status_code for _ in range(3)] == [200] * 3


@pytest.mark.parametrize("path", VIEWS)
def test_what_pages_load_by_themselves_has_a_generous_limit(limited: Browser, ids: dict[str, str], path: str) -> None:
    answers = [limited.get(path.format(**ids)).status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]
