"""Looking at a repository without cloning it, as web does when a project is made."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from autostack.agent import git
from autostack.agent.order import Credential
from tests.git_server import make_repository, serve_repositories
from tests.s3 import free_port

HOSTS = {"127.0.0.1"}


def test_the_branches_and_the_default_one_are_told(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "site.git", {"a": "b"})
    commit = repository.commit({"a": "c"}, branch="feature/x")
    with serve_repositories(tmp_path) as server:
        refs = git.ls_remote(server.url("site.git"), hosts_allowed=HOSTS)
    assert set(refs.branches) == {"main", "feature/x"}
    assert refs.branches["feature/x"] == commit
    assert refs.default_branch == "main"


def test_an_empty_repository_is_told_from_a_missing_one(tmp_path: Path) -> None:
    make_repository(tmp_path / "empty.git")
    with serve_repositories(tmp_path) as server:
        with pytest.raises(git.EmptyRepository):
            git.ls_remote(server.url("empty.git"), hosts_allowed=HOSTS)
        with pytest.raises(git.AuthenticationRequired):
            git.ls_remote(server.url("none.git"), hosts_allowed=HOSTS)


def test_a_private_repository_needs_its_credential(tmp_path: Path) -> None:
    make_repository(tmp_path / "site.git", {"a": "b"})
    with serve_repositories(tmp_path, ("bot", "token")) as server:
        url = server.url("site.git")
        for credential in (None, Credential("bot", "wrong")):
            with pytest.raises(git.AuthenticationRequired, match="asks for a sign-in"):
                git.ls_remote(url, hosts_allowed=HOSTS, credential=credential)
        assert git.ls_remote(url, hosts_allowed=HOSTS, credential=Credential("bot", "token")).default_branch == "main"


def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    refusal = pytest.raises(git.Unreachable, match="did not answer within 1 seconds")
    with socket.create_server(("127.0.0.1", 0)) as silent, refusal:
        git.ls_remote(f"http://127.0.0.1:{silent.getsockname()[1]}/a.git", hosts_allowed=HOSTS, timeout_s=1)


def test_a_closed_port_is_unreachable() -> None:
    with pytest.raises(git.Unreachable, match="could not be reached"):
        git.ls_remote(f"http://127.0.0.1:{free_port()}/a.git", hosts_allowed=HOSTS)


def test_the_local_repository_is_reached_by_its_very_path_only(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "example.git", {"a": "b"})
    path = str(repository.path)
    assert git.ls_remote(path, local_path=path).default_branch == "main"
    assert git.ls_remote(f"file://{path}", local_path=path).default_branch == "main"
    for other in (f"{path}/../example.git", str(tmp_path), f"{path}/"):
        with pytest.raises(git.InvalidUrl):
            git.ls_remote(other, local_path=path)
