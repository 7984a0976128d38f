"""Row 54: what was built of one project is in no other's builds, though they know its hash or its key.

On a builder's disk, and in the caches that builds keep for each other in the store.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask

from tests.agents import make_site
from tests.builders import Agent, open_agent
from tests.git_server import git, make_repository
from tests.people import Api

OWN = "11111111-0000-4000-8000-000000000001"
OTHER = "22222222-0000-4000-8000-000000000002"
ALLOWED = {"credential": {"username": "bot", "password": "hunter2-hunter2"}}


@pytest.mark.parametrize("address", ["own.git", "site.git"])
def test_f54_a_private_commit_is_not_had_from_a_builders_mirror(tmp_path: Path, address: str) -> None:
    """Neither by a repository of one's own, nor by the private one's address without its credential."""
    with make_site(tmp_path, {"index.html": "private"}, credential=("bot", "hunter2-hunter2")) as site:
        own = make_repository(tmp_path / "repositories" / "own.git", {"index.html": "own"})
        site.order(repository=ALLOWED, project_id=OWN)
        site.build()
        assert (site.web.finished or {})["outcome"] == "built"
        private = git(site.repository.path, "rev-parse", "main")
        credential = ALLOWED if address == "own.git" else {}
        # A build that goes well first: the tenant has a mirror of their own.
        site.order(repository={**ALLOWED, "url": site.server.url("own.git")}, project_id=OTHER)
        site.build()
        assert site.web.content("/index.html") == b"own"
        for ref in (private, git(site.repository.path, "rev-parse", "main^{tree}")):
            url = site.server.url(address)
            site.order(repository={**credential, "url": url, "commit": ref}, project_id=OTHER)
            site.build()
            assert (site.web.finished or {})["outcome"] == "failed"
            assert site.web.files == []
        assert git(own.path, "rev-parse", "main") != private


def test_f54_each_project_has_a_mirror_of_its_own_of_the_same_repository(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "public"}) as site:
        for project in (OWN, OTHER, OWN):
            site.order(project_id=project)
            site.build()
            assert (site.web.finished or {})["outcome"] == "built"
        assert len(list(site.mirrors_dir.glob("*/mirror-*"))) == 2


def test_f54_a_cache_of_another_tenant_is_not_read_by_its_key(
    app: Flask, api: Api, strangers_api: Api, site: str
) -> None:
    """Both build the same branch of the same repository, so that both agents ask for the same keys."""
    alices, charlies = building(app, api, site), building(app, strangers_api, site)
    tag = alices.call("PUT", "/cache/modules-abc", data=b"of Alice").headers["ETag"]
    for headers in ({}, {"If-None-Match": tag}):
        assert charlies.call("GET", "/cache/modules-abc", headers=headers).status_code == 404
    assert charlies.call("GET", "/cache").json == {"likely": None}
    # Nor with the number of her build.
    assert Agent(app, alices.attempt_id, charlies.token).call("GET", "/cache/modules-abc").status_code == 401
    own = charlies.call("PUT", "/cache/modules-abc", data=b"of Charlie")
    assert own.headers["ETag"] != tag
    assert charlies.call("GET", "/cache/modules-abc", headers={"If-None-Match": tag}).data == b"of Charlie"
    assert alices.call("GET", "/cache/modules-abc").data == b"of Alice"


def building(app: Flask, api: Api, repository: str) -> Agent:
    """Return the agent, with its order, of a first build of somebody's own project."""
    project = api.post("/api/projects", {"name": "Site", "repository": repository}).json
    deployment = api.post("/api/deployments", {"projectId": project["id"]}).json
    agent = open_agent(app, deployment["id"])
    assert agent is not None
    agent.fetch_order()
    return agent
