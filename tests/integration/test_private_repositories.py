"""Private repositories are reached and cloned with the token of their user's connection with GitHub, and no other's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask

from tests.builders import open_agent
from tests.conftest import AppMaker
from tests.git_server import GitServer, make_repository, serve_repositories
from tests.log_lines import recorded
from tests.oauth import connect_github, registered_with
from tests.peers.github import GitHubPeer, PeerRepository
from tests.peers.google import GooglePeer
from tests.people import Api, Browser, Person, make_person

USERNAME = "x-access-token"


@dataclass
class Hub:
    """An installation whose GitHub has its Git server here, and an owner who has connected it by `token`."""

    app: Flask
    git: GitServer
    owner: Person
    token: str

    @property
    def api(self) -> Api:
        return Api(self.app, self.owner.token)

    def credential_of(self, deployment_id: str) -> dict[str, str] | None:
        agent = open_agent(self.app, deployment_id)
        assert agent is not None
        credential: dict[str, str] | None = agent.fetch_order()["repository"]["credential"]
        return credential


@pytest.fixture
def hub(app: Flask, make_app: AppMaker, github: GitHubPeer, google: GooglePeer, tmp_path: Path) -> Iterator[Hub]:
    known = {**registered_with(github, google), "repo_hosts_allowed": frozenset({"127.0.0.1"})}
    connecting = make_app(**known)
    owner = make_person(connecting, "Olga", "olga@example.com")
    connect_github(Browser(connecting).sign_in(owner), github)
    [token] = github.tokens
    make_repository(tmp_path / "octo" / "private", {"index.html": "private"})
    with serve_repositories(tmp_path, (USERNAME, token)) as git:
        yield Hub(make_app(**{**known, "github_url": f"http://{git.host}"}), git, owner, token)


def test_a_private_repository_is_reached_and_its_builds_order_has_the_credential(hub: Hub) -> None:
    with recorded(hub.app.config["AUTOSTACK"]) as lines:
        answered = hub.api.post("/api/deployments", {"repository": "octo/private"})
        assert answered.status_code == 201, answered.text
        assert answered.json["branch"] == "main"
        assert hub.credential_of(answered.json["id"]) == {"username": USERNAME, "password": hub.token}
        assert hub.token not in answered.text
    assert hub.token not in lines.read()


def test_the_token_is_said_only_once_it_is_asked_for(hub: Hub) -> None:
    hub.api.post("/api/projects", {"repository": hub.git.url("octo/private")})
    assert len(hub.git.requests) > len(hub.git.authorizations) > 0


def test_the_name_alone_means_the_callers_project_and_else_their_repository(hub: Hub, github: GitHubPeer) -> None:
    github.repositories = [PeerRepository(1, "octo/private", private=True, readers=frozenset({"octo"}))]
    first = hub.api.post("/api/deployments", {"repository": "private"})
    assert (first.status_code, first.json["repo"]) == (201, "private")
    github.repositories = []
    assert hub.api.post("/api/deployments", {"repository": "private"}).json["projectId"] == first.json["projectId"]
    unknown = hub.api.post("/api/deployments", {"repository": "nothing"})
    assert (unknown.status_code, list(unknown.json["error"]["details"])) == (422, ["repository"])


def test_nobody_else_reaches_it(hub: Hub, charlie: Person) -> None:
    answered = Api(hub.app, charlie.token).post("/api/deployments", {"repository": "octo/private"})
    assert answered.status_code == 422
    assert "asks for a sign-in" in answered.json["error"]["details"]["repository"]
    assert hub.git.authorizations == []


def test_another_server_is_never_told_the_token(hub: Hub, tmp_path: Path) -> None:
    with serve_repositories(tmp_path, ("bot", "hunter2")) as other:
        assert hub.api.post("/api/projects", {"repository": other.url("octo/private")}).status_code == 422
        assert other.authorizations == []
    with serve_repositories(tmp_path) as public:
        deployment = hub.api.post("/api/deployments", {"repository": public.url("octo/private")}).json
        assert hub.credential_of(deployment["id"]) is None


def test_once_disconnected_no_order_has_it(hub: Hub) -> None:
    deployment = hub.api.post("/api/deployments", {"repository": "octo/private"}).json
    assert hub.api.delete("/api/github/disconnect").status_code == 204
    assert hub.credential_of(deployment["id"]) is None
