"""Builds in a container of their own, as on Fargate: nothing can be mounted there, and user code is another user."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from autostack.agent.seccomp import ARCHITECTURES, CLONE_NEWUSER
from tests.agents import Site, make_site
from tests.container import ENTRY_POINT, WORK_DIR, ContainedSite, container, needs_root

pytestmark = needs_root
NUMBERS = ARCHITECTURES[platform.machine()]
SECRETS = ("never-in-the-sandbox", "bootstrap-token-for-tests", "working-token-for-tests", "the-containers-shadow")


@contextmanager
def contained_site(folder: Path, files: Mapping[str, str | bytes | None], **order: Any) -> Iterator[Site]:
    """Give a site whose agent runs in a container."""
    with make_site(folder, files, **order) as site:
        yield ContainedSite(**vars(site))


def look(folder: Path, command: str, **order: Any) -> str:
    """Build a site whose page is what a command printed; return that."""
    script = f"mkdir dist; exec > dist/index.html 2>&1\n{command}\ntrue"
    settings = {"buildCommand": script, "outputDir": "dist"}
    with contained_site(folder, {"a.txt": ""}, settings=settings, **order) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        return site.web.content("/index.html").decode("utf-8", "replace")


def test_a_site_with_dependencies_is_built_as_anywhere(tmp_path: Path) -> None:
    """With a package manager of another version than the image's, too, which is installed apart from the clone."""
    scripts = '"scripts": {"build": "pnpm --version && node build.js"}'
    package = f'{{"packageManager": "pnpm@9.15.9", "dependencies": {{"is-number": "7.0.0"}}, {scripts}}}'
    program = """
    const fs = require('fs');
    fs.mkdirSync('dist');
    fs.writeFileSync('dist/index.html', `${require('is-number')(1)} ${process.cwd()} ${process.env.HOME}`);
    """
    with contained_site(tmp_path, {"package.json": package, "build.js": program}) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        assert site.web.content("/index.html") == b"true /build /home/build"
        assert {"Installed pnpm 9.15.9", "9.15.9"} <= set(site.web.texts)


def test_user_code_reads_nothing_of_the_agent(tmp_path: Path) -> None:
    seen = look(
        tmp_path,
        f"""
        id -u; id -G; grep -E 'NoNewPrivs|Seccomp:|Cap(Eff|Prm|Bnd)' /proc/self/status
        for process in /proc/[0-9]*; do
          cat $process/environ $process/cmdline | tr '\\0' '\\n'
          head -c 100 $process/mem; ls -l $process/fd $process/cwd/ $process/root/
        done
        cat /etc/shadow; ls -la {WORK_DIR}/spool {WORK_DIR}/etc /root; env
        """,
    )
    assert seen.startswith("64000\n64000\n")
    for fact in ("CapEff:\t0000000000000000", "CapPrm:\t0000000000000000", "CapBnd:\t0000000000000000"):
        assert fact in seen
    assert "NoNewPrivs:\t1" in seen
    assert "Seccomp:\t2" in seen
    for secret in SECRETS:
        assert secret not in seen
    for denied in (
        "/proc/1/environ: Permission denied",
        "/etc/shadow: Permission denied",
        "/spool': Permission denied",
    ):
        assert denied in seen
    assert "AGENT_ONLY_SECRET" not in seen


def test_the_container_can_be_written_to_only_where_the_build_belongs(tmp_path: Path) -> None:
    seen = look(
        tmp_path,
        f"""
        for path in / /usr /etc /etc/autostack /opt /opt/autostack /run /run/autostack /home /root /build/.. \\
            {WORK_DIR} {WORK_DIR}/.. {WORK_DIR}/spool /proc/sys/kernel; do
          echo x 2>/dev/null > $path/written && echo "wrote to $path"
        done
        for path in /build /home/build /tmp; do echo x > $path/written && echo "may write to $path"; done
        """,
    )
    assert seen.splitlines() == [f"may write to {path}" for path in ("/build", "/home/build", "/tmp")]


def test_user_code_gets_no_further_than_its_user(tmp_path: Path) -> None:
    ptrace, unshare = NUMBERS.denied[0], NUMBERS.unshare
    tried = {
        "kill": "kill -KILL $PPID $AGENT 1",
        "become root": "setpriv --reuid 0 true",
        "mknod": "mknod device c 1 3",
        "mount": "mount -t tmpfs none /tmp",
        "user namespace": "unshare --user true",
        "chroot": "chroot / true",
        "ptrace": f"perl -MErrno -e 'exit(syscall({ptrace}, 16, $ENV{{AGENT}}, 0, 0) == -1 && $!{{EPERM}} ? 1 : 0)'",
        "unshare": f"perl -MErrno -e 'exit(syscall({unshare}, {CLONE_NEWUSER}) == -1 && $!{{EPERM}} ? 1 : 0)'",
    }
    find_agent = "export AGENT=$(grep -lz -- autostack.agent /proc/[0-9]*/cmdline | cut -d/ -f3 | head -1); echo $AGENT"
    attempts = [f"if {command} 2> /dev/null; then echo {name}; fi" for name, command in tried.items()]
    agent, *succeeded = look(tmp_path, "\n".join([find_agent, *attempts])).splitlines()
    assert agent.isdigit()
    assert succeeded == []


def test_what_a_step_leaves_running_is_ended_with_it(tmp_path: Path) -> None:
    """The output is read when nobody is there any more to change it."""
    stay = "(setsid sh -c 'trap \"\" TERM HUP; while :; do sh -c : & sleep 0.01; done' > /dev/null 2>&1 &)"
    settings = {
        "installCommand": f"{stay}; {stay}",
        "buildCommand": "ls /proc/[0-9]*/cwd/ > index.html 2>/dev/null; true",
    }
    settings |= {"outputDir": "."}
    with contained_site(tmp_path, {"package.json": '{"name": "site"}'}, settings=settings) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        # Of its own shell and `ls`.
        assert site.web.content("/index.html").decode().count("/cwd/:") <= 2


@pytest.mark.parametrize(
    "command, reason",
    [
        ("setsid sh -c 'sleep 300' & sleep 300", "The build took longer than 3s and was stopped"),
        ("perl -e 'for(;;){fork||sleep 30}'", "The build started more than 64 processes and threads and was stopped"),
    ],
    ids=["time", "fork bomb"],
)
def test_a_build_that_takes_too_much_is_stopped(tmp_path: Path, command: str, reason: str) -> None:
    limits = {"timeoutMs": 3_000, "maxProcesses": 64}
    settings = {"buildCommand": command, "outputDir": "."}
    with contained_site(tmp_path, {"index.html": ""}, settings=settings, limits=limits) as site:
        site.build()
        assert site.web.finished is not None
        assert site.web.finished["outcome"] == "failed"
        assert site.web.finished["reason"] in (reason, "The build took longer than 3s and was stopped")


def test_where_user_code_could_not_be_another_user_nothing_is_built(tmp_path: Path) -> None:
    with contained_site(tmp_path, {"index.html": ""}) as site:
        stranger = ["setpriv", "--reuid", "65534", "--clear-groups", "--"]
        command = [*container(tmp_path), *stranger, sys.executable, *ENTRY_POINT[1:]]
        agent = subprocess.Popen(command, stderr=subprocess.PIPE, env=site.environment())
        assert agent.stderr is not None
        assert agent.wait(60) == 70
        assert b"in a container the agent must be root" in agent.stderr.read()
        assert site.web.finished is None
