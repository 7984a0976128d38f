"""A mirror of the repository on the builder's disk: only what is new is fetched, and all else is as without one."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.agents import Site, make_site
from tests.git_server import git
from tests.integration.test_embedded_services import AS_NOBODY, NOBODY, as_root
from tests.peers.web_for_agents import fake_web

LARGE_BYTES = 300_000
BUILT = {"outcome": "built", "reason": None}


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    files = {"index.html": "one", "large.bin": os.urandom(LARGE_BYTES)}
    with make_site(tmp_path, files) as site:
        yield site


def mirrors(site: Site) -> list[Path]:
    return list(site.mirrors_dir.glob("*/mirror-*"))


def fetched(site: Site, **order: Any) -> int:
    """Build; return how many bytes the repository's server sent for it."""
    site.server.sizes.clear()
    site.order(**order)
    site.build()
    assert site.web.finished == BUILT, site.web.log
    return sum(site.server.sizes)


def page(site: Site) -> str:
    return site.web.content("/index.html").decode()


def test_a_second_build_fetches_only_what_is_new(site: Site) -> None:
    assert fetched(site) > LARGE_BYTES
    commit = site.repository.commit({"index.html": "two", "new/page.html": "new"})
    assert fetched(site) < LARGE_BYTES / 10
    assert page(site) == "two"
    assert site.web.paths == ["/index.html", "/large.bin", "/new/page.html"]
    assert (site.web.source or {})["commitHash"] == commit
    assert len(mirrors(site)) == 1


def test_a_commit_that_the_mirror_has_is_asked_for_again(site: Site) -> None:
    fetched(site)
    commit = git(site.repository.path, "rev-parse", "main")
    for order in ({}, {"repository": {"commit": commit}}):
        assert 0 < fetched(site, **order) < LARGE_BYTES / 10
        assert site.server.requests[-1] == "POST /site.git/git-upload-pack"
        assert page(site) == "one"


def test_a_clone_by_way_of_the_mirror_is_like_any_other(site: Site) -> None:
    look = (
        "mkdir out && { git log --format=%H%s; git status --porcelain; git config --list --local; git for-each-ref;"
        " git count-objects -v | grep -e count -e in-pack -e garbage; cat .git/shallow; cat .git/HEAD; git fsck"
        " --no-progress 2>&1; find .git -name '*alternates*'; } > out/index.html"
    )
    site.repository.commit({"other.html": "of a branch"}, branch="other")
    site.repository.commit({"index.html": "two"})
    settings = {"buildCommand": look, "outputDir": "out"}
    files = {"package.json": '{"name": "site", "private": true}'}
    site.repository.commit(files)
    fetched(site, settings=settings, repository={"branch": "other"})
    site.repository.commit({"index.html": "three", **files})
    assert fetched(site, settings=settings) < LARGE_BYTES / 10
    with_mirror = page(site)
    site.keeps_mirrors = False
    assert fetched(site, settings=settings) > LARGE_BYTES
    assert page(site) == with_mirror


def test_a_new_branch_costs_what_it_changes(site: Site) -> None:
    fetched(site)
    site.repository.commit({"index.html": "of a branch"}, branch="feature/x")
    assert fetched(site, repository={"branch": "feature/x"}) < LARGE_BYTES / 10
    assert page(site) == "of a branch"
    assert fetched(site) < LARGE_BYTES / 10
    assert page(site) == "one"


def test_a_history_that_was_rewritten_is_followed_and_its_past_is_in_no_clone(site: Site) -> None:
    leaked = site.repository.commit({"index.html": "a secret"})
    fetched(site)
    blob = git(site.repository.path, "rev-parse", f"{leaked}:index.html")
    git(site.repository.path, "update-ref", "refs/heads/main", f"{leaked}~1")
    site.repository.commit({"package.json": '{"name": "site", "private": true}'})
    look = f"mkdir out && (git cat-file -p {blob} || echo gone) > out/index.html 2>/dev/null"
    assert fetched(site, settings={"buildCommand": look, "outputDir": "out"}) < LARGE_BYTES / 10
    assert page(site) == "gone\n"


def test_a_commit_that_the_server_has_no_more_is_not_built(site: Site) -> None:
    commit = site.repository.commit({"index.html": "two"})
    fetched(site)
    git(site.repository.path, "update-ref", "refs/heads/main", f"{commit}~1")
    git(site.repository.path, "gc", "-q", "--prune=now")
    site.order(repository={"commit": commit})
    site.build()
    assert (site.web.finished or {})["reason"] == "The repository has no such commit"


def test_who_may_read_the_repository_no_more_builds_it_no_more(tmp_path: Path) -> None:
    files = {"index.html": "private", "large.bin": os.urandom(LARGE_BYTES)}
    with make_site(tmp_path, files, credential=("bot", "hunter2-hunter2")) as site:
        commit = git(site.repository.path, "rev-parse", "main")
        allowed = {"credential": {"username": "bot", "password": "hunter2-hunter2"}}
        fetched(site, repository=allowed)
        assert fetched(site, repository=allowed) < LARGE_BYTES / 10
        grep = ["grep", "-rE", "hunter2|Authorization|Basic", str(mirrors(site)[0])]
        assert subprocess.run(grep, capture_output=True, check=False).stdout == b""
        for refused in ({}, {"credential": {"username": "bot", "password": "revoked"}}):
            site.order(repository={**refused, "commit": commit})
            site.build()
            assert "asks for a sign-in" in (site.web.finished or {})["reason"]
            assert mirrors(site) == []


def test_another_address_is_another_mirror(site: Site) -> None:
    fetched(site)
    (site.repository.path.parent / "moved.git").symlink_to("site.git")
    moved = {"url": site.server.url("moved.git")}
    assert fetched(site, repository=moved) > LARGE_BYTES
    assert fetched(site, repository=moved) < LARGE_BYTES / 10
    assert len(mirrors(site)) == 2


def test_of_two_builds_at_once_one_has_the_mirror_and_both_go_well(site: Site, tmp_path: Path) -> None:
    fetched(site)
    site.repository.commit({"index.html": "two", "more.bin": os.urandom(LARGE_BYTES)})
    site.server.gate.close()
    site.order()
    first = site.start()
    assert site.server.gate.reached.wait(60)
    with fake_web({}) as web:
        options = ("--mirrors-dir", str(site.mirrors_dir))
        other = Site(tmp_path / "other", site.repository, site.server, web, (site.slot + 1) % 1000, options=options)
        assert fetched(other) > 2 * LARGE_BYTES
        assert page(other) == "two"
    site.server.gate.open()
    assert first.wait(120) == 0
    assert page(site) == "two"
    assert len(mirrors(site)) == 1
    site.slot = (site.slot + 2) % 1000
    assert fetched(site) < LARGE_BYTES / 10


def test_a_build_that_is_killed_in_mid_fetch_harms_no_other(site: Site) -> None:
    fetched(site)
    site.repository.commit({"index.html": "two", "more.bin": os.urandom(LARGE_BYTES)})
    site.server.gate.close()
    site.order()
    agent = site.start()
    assert site.server.gate.reached.wait(60)
    agent.kill()
    agent.wait()
    site.server.gate.open()
    assert mirrors(site) == []
    assert fetched(site) > LARGE_BYTES
    assert page(site) == "two"
    assert fetched(site) < LARGE_BYTES / 10


def change_an_object(mirror: Path) -> None:
    for file in (found for found in mirror.glob("objects/**/*") if found.is_file() and found.stat().st_size > 90_000):
        file.chmod(0o600)
        with file.open("r+b") as content:
            content.seek(99_999)
            content.write(b"x")


def lose_the_objects(mirror: Path) -> None:
    shutil.rmtree(mirror / "objects")
    (mirror / "objects").mkdir()


def garble_the_configuration(mirror: Path) -> None:
    (mirror / "config").write_text("[[[")


@pytest.mark.parametrize("spoil", [change_an_object, lose_the_objects, garble_the_configuration])
def test_a_spoilt_mirror_is_made_anew(site: Site, spoil: Callable[[Path], None]) -> None:
    fetched(site)
    spoil(mirrors(site)[0])
    site.repository.commit({"index.html": "two"})
    assert fetched(site) > LARGE_BYTES
    assert page(site) == "two"
    assert site.web.paths == ["/index.html", "/large.bin"]
    assert len(mirrors(site)) == 1


def test_a_builds_own_commands_have_no_mirror(site: Site) -> None:
    site.repository.commit({"package.json": '{"name": "site", "private": true}'})
    look = f"mkdir out && ls -d /repository.git /clone.git {site.work_dir}/mirror {site.mirrors_dir} > out/index.html"
    for _ in range(2):
        fetched(site, settings={"buildCommand": f"{look}; true", "outputDir": "out"})
        assert page(site) == ""


def test_what_a_build_does_to_its_clone_the_mirror_does_not_see(site: Site) -> None:
    site.repository.commit({"package.json": '{"name": "site", "private": true}'})
    spoil = "chmod -R u+w .git && find .git -type f | while read f; do echo spoilt > $f; done; rm -rf .git"
    settings = {"buildCommand": spoil, "outputDir": "."}
    for _ in range(2):
        fetched(site, settings=settings)
    assert fetched(site, settings=settings) < LARGE_BYTES / 10
    assert page(site) == "one"


def test_a_mirror_that_is_too_large_is_not_kept(site: Site) -> None:
    fetched(site, limits={"maxMirrorsBytes": 4 * LARGE_BYTES})
    assert mirrors(site) == []
    fetched(site)
    site.repository.commit({"more.bin": os.urandom(LARGE_BYTES)})
    fetched(site, limits={"maxMirrorsBytes": 8 * LARGE_BYTES})
    assert mirrors(site) == []
    assert page(site) == "one"


def test_a_mirror_of_many_packs_is_made_anew(site: Site) -> None:
    fetched(site)
    for number in range(50):
        (mirrors(site)[0] / "objects" / "pack" / f"pack-{number}.pack").touch()
    assert fetched(site) < LARGE_BYTES / 10
    assert mirrors(site) == []


@as_root
def test_an_ordinary_users_builds_have_a_mirror_too() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        files = {"index.html": "one", "large.bin": os.urandom(LARGE_BYTES)}
        with make_site(Path(home), files) as site:
            site.prefix = AS_NOBODY
            os.chown(home, NOBODY, NOBODY)
            fetched(site)
            assert fetched(site) < LARGE_BYTES / 10
