"""Row 51: a repository URL that resolves to, redirects to or rebinds to a private address → refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from autostack.agent import git
from autostack.public_addresses import is_public
from tests.git_server import make_repository, serve_repositories

PRIVATE = [
    "https://127.0.0.1/a/b",
    "https://localhost/a/b",
    "https://10.0.0.1/a/b",
    "https://192.168.1.1/a/b",
    "https://169.254.169.254/latest/meta-data",
    "https://100.64.0.1/a/b",
    "https://[::1]/a/b",
    "https://[::ffff:127.0.0.1]/a/b",
    "https://[fd00::1]/a/b",
    "https://[fe80::1]/a/b",
    "https://[64:ff9b::7f00:1]/a/b",
    "https://[2002:7f00:1::]/a/b",
    "https://0.0.0.0/a/b",
    "https://224.0.0.1/a/b",
    "https://255.255.255.255/a/b",
    "https://2130706433/a/b",
    "https://0x7f.1/a/b",
    "https://127.1/a/b",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_f51_a_private_address_is_refused_in_whatever_spelling(url: str) -> None:
    with pytest.raises((git.PrivateAddress, git.InvalidUrl)):
        git.ls_remote(url)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_f51_a_public_address_is_not(address: str) -> None:
    assert is_public(address)


def test_f51_a_host_is_allowed_by_its_name_or_with_its_port(tmp_path: Path) -> None:
    make_repository(tmp_path / "site.git", {"a": "b"})
    with serve_repositories(tmp_path) as server:
        url = server.url("site.git")
        assert "main" in git.ls_remote(url, hosts_allowed={"127.0.0.1"}).branches
        assert "main" in git.ls_remote(url, hosts_allowed={server.host}).branches
        with pytest.raises(git.InvalidUrl):
            git.ls_remote(url, hosts_allowed={"127.0.0.1:1"})


def test_f51_a_redirect_is_not_followed(tmp_path: Path) -> None:
    make_repository(tmp_path / "site.git", {"a": "b"})
    with (
        serve_repositories(tmp_path) as private,
        serve_repositories(tmp_path, redirect_to=f"http://{private.host}") as public,
    ):
        with pytest.raises(git.Unreachable, match="redirects"):
            git.ls_remote(public.url("site.git"), hosts_allowed={public.host})
        assert private.requests == []


def test_f51_git_connects_to_the_address_that_was_checked_whatever_the_name_means_by_then(tmp_path: Path) -> None:
    make_repository(tmp_path / "site.git", {"a": "b"})
    with serve_repositories(tmp_path) as server:
        # No resolver knows this name: only the pinned address can answer.
        url = f"http://rebinding.invalid:{server.port}/site.git"
        remote = git.Remote(url, "rebinding.invalid", server.port, "http", ("127.0.0.1",))
        env = {"PATH": "/usr/local/bin:/usr/bin:/bin", **git.environment(remote)}
        done = subprocess.run(["git", "ls-remote", "--", url], env=env, capture_output=True, text=True, check=True)
        assert "refs/heads/main" in done.stdout


def test_f51_a_host_that_does_not_exist_is_said_to(tmp_path: Path) -> None:
    with pytest.raises(git.Unreachable, match=r"There is no host named none\.invalid"):
        git.ls_remote("https://none.invalid/a/b")
