"""Row 54, on a builder's disk: what was built of one project is in no other's builds, though they know its hash."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import make_site
from tests.git_server import git, make_repository

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
