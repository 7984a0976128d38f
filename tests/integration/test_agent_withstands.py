"""What repositories, servers and builds do to the agent, on purpose or not, and what it makes of it."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil
import pytest

from autostack.agent import guards
from autostack.agent.files import UnsafePath, read_bytes
from autostack.agent.guards import Disk
from autostack.agent.runner import TRIAL as LIMITS
from autostack.agent.sandbox import FIRST_UID
from tests.agents import Site, make_site
from tests.integration.test_embedded_services import AS_NOBODY, NOBODY, as_root
from tests.peers.chatty_git import chatty_git_server

PAGE = {"index.html": "hi"}
LIBRARY = {"package.json": '{"name": "lib", "version": "1.0.0", "main": "index.js"}'}
BUILD = "require('fs').mkdirSync('dist'); require('fs').writeFileSync('dist/index.html', require('lib'))"
LOCK = json.dumps({"name": "site", "lockfileVersion": 3, "packages": {}})


def built(site: Site) -> bool:
    """Run the agent and tell whether it reported a build."""
    site.build()
    assert site.web.finished is not None, site.web.log
    return bool(site.web.finished["outcome"] == "built")


def test_a_git_server_that_never_stops_talking_does_not_fill_the_agents_memory(tmp_path: Path) -> None:
    with chatty_git_server() as host, make_site(tmp_path, PAGE) as site:
        site.order(repository={"url": f"http://{host}/evil.git", "hostsAllowed": [host]}, limits={"timeoutMs": 5_000})
        agent = site.start()
        watched, most = psutil.Process(agent.pid), 0
        while agent.poll() is None:
            try:
                most = max(most, watched.memory_info().rss)
            except psutil.Error:
                break
            assert most < 300_000_000
        agent.wait(60)
        assert site.web.finished == {
            "outcome": "failed",
            "reason": "The build took longer than 5s and was stopped",
        }


def test_a_change_in_a_folder_that_is_a_dependency_is_built(tmp_path: Path) -> None:
    package = {"name": "site", "dependencies": {"lib": "file:./lib"}, "scripts": {"build": f'node -e "{BUILD}"'}}
    lock = '# yarn lockfile v1\n\n\n"lib@file:./lib":\n  version "1.0.0"\n'
    files = {
        "package.json": json.dumps(package),
        "yarn.lock": lock,
        "lib/package.json": LIBRARY["package.json"],
        "lib/index.js": "module.exports = 'one'",
    }
    with make_site(tmp_path, files) as site:
        assert built(site), site.web.log
        assert site.web.content("/index.html") == b"one"
        site.repository.commit({"lib/index.js": "module.exports = 'two'"})
        site.order()
        assert built(site), site.web.log
        assert site.web.content("/index.html") == b"two"


def test_an_install_without_node_modules_is_made_each_time(tmp_path: Path) -> None:
    # As Yarn's Plug'n'Play does: everything is found by a file beside package.json.
    install = "echo '1' > made-by-the-install"
    # And as Babel does, the build puts something into node_modules.
    build = "mkdir -p dist node_modules/.cache && cp made-by-the-install dist/index.html"
    package = {"name": "site", "scripts": {"build": build}}
    files = {"package.json": json.dumps(package), "package-lock.json": LOCK}
    with make_site(tmp_path, files, settings={"installCommand": install}) as site:
        assert built(site), site.web.log
        site.order(settings={"installCommand": install})
        assert built(site), site.web.log
        assert "install skipped" not in site.web.log


@pytest.mark.parametrize(
    ("more", "lock"),
    [
        ('"engines": {"node": "' + "9" * 5_000 + '"}', {"package-lock.json": LOCK}),
        ('"private": true', {"pnpm-lock.yaml": f"lockfileVersion: '{'9' * 5_000}'\n\nimporters:\n\n  .: {{}}\n"}),
        *[('"overrides": ' + '{"a":' * depth + "1" + "}" * depth, {"package-lock.json": LOCK}) for depth in (900, 960)],
    ],
    ids=["engines", "lock file", "deep", "deeper"],
)
def test_numbers_and_depths_of_any_size_end_in_a_report(tmp_path: Path, more: str, lock: dict[str, str]) -> None:
    package = '{"name": "site", "scripts": {"build": "mkdir dist && echo hi > dist/index.html"}, ' + more + "}"
    with make_site(tmp_path, {"package.json": package, **lock}, settings={"installCommand": "true"}) as site:
        site.build()
        assert site.web.finished is not None, site.web.log


def test_a_plain_site_in_a_folder_leaves_out_what_a_site_at_the_top_leaves_out(tmp_path: Path) -> None:
    files = {"site/index.html": "hi", "site/.env": "SECRET=1", "site/node_modules/a.js": "1", "other.html": "x"}
    with make_site(tmp_path, files, settings={"rootDir": "site"}) as site:
        assert built(site), site.web.log
        assert [file["path"] for file in site.web.files] == ["/index.html"]


def test_memory_that_belongs_to_no_process_cannot_be_had(tmp_path: Path) -> None:
    command = "perl -e 'exit(defined(shmget(0, 1000000, 0666 | 01000)) ? 0 : 3)'"
    with make_site(tmp_path, PAGE, settings={"buildCommand": command, "outputDir": "."}) as site:
        site.build()
        assert site.web.finished == {"outcome": "failed", "reason": f"`{command}` ended with exit code 3"}


def test_one_entry_that_vanishes_does_not_hide_the_rest_of_its_folder(tmp_path: Path) -> None:
    for number in range(10):
        (tmp_path / f"{number}").write_text("x")
    seen = 0
    for _ in guards.walk([tmp_path]):
        if seen == 0:
            for name in os.listdir(tmp_path)[:1]:
                (tmp_path / name).unlink(missing_ok=True)
        seen += 1
    assert seen >= 9


@pytest.fixture
def ordinary() -> Iterator[Site]:
    """A repository and an agent that an ordinary user runs, in a folder of theirs."""
    with tempfile.TemporaryDirectory(dir="/tmp") as home, make_site(Path(home), PAGE) as site:
        site.prefix = AS_NOBODY
        os.chown(home, NOBODY, NOBODY)
        yield site
        subprocess.run(["chmod", "-R", "u+rwX", home], check=True)


@as_root
def test_an_ordinary_users_build_is_built(ordinary: Site) -> None:
    ordinary.order(settings={"buildCommand": "id -u > index.html; cat /etc/shadow || true", "outputDir": "."})
    assert built(ordinary), ordinary.web.log
    assert ordinary.web.content("/index.html").strip() == str(FIRST_UID + ordinary.slot).encode()
    assert "cat: /etc/shadow" in ordinary.web.log


@as_root
def test_a_folder_that_an_ordinary_user_may_not_change_keeps_no_next_build_away(ordinary: Site) -> None:
    command = "mkdir closed && touch closed/file && chmod 555 closed"
    for _ in range(2):
        ordinary.order(settings={"buildCommand": command, "outputDir": "."})
        assert built(ordinary), ordinary.web.log
    assert [path for path in ordinary.work_dir.iterdir() if path.name == "source"] == []


@as_root
def test_what_its_owner_may_not_read_is_said_to_be_so() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        os.chown(home, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            closed = Path(home) / "closed"
            closed.mkdir(mode=0o300)
            with pytest.raises(UnsafePath, match="cannot be read"):
                read_bytes(closed, PurePosixPath("index.html"))
            reason = Disk([Path(home)], LIMITS)(psutil.Process())
        finally:
            os.seteuid(0)
    assert reason == "The build made a folder that cannot be looked into and was stopped"
