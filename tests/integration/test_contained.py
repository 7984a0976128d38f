"""The first process of a script in a container of one build: however it is ended, nothing of the build is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from autostack.agent import process
from tests.integration.test_embedded_services import as_root
from tests.processes import processes_of_user

# Of nobody else on this machine.
UID = 63_000 + os.getpid() % 900
STUBBORN = """
trap '' TERM INT HUP
for number in 1 2 3 4 5; do setsid sh -c "trap '' TERM; while :; do sleep 0.05; done" & done
echo started
while :; do sleep 0.05; done
"""


@contextmanager
def running(script: str) -> Iterator[subprocess.Popen[bytes]]:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        command = Path(folder) / "command"
        with (Path(folder) / "script").open("w+") as text:
            text.write(script)
            text.seek(0)
            become = ["/usr/bin/setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--"]
            argv = [
                sys.executable,
                "-I",
                "-m",
                "autostack.agent.contained",
                "--uid",
                str(UID),
                "--script",
                str(command),
            ]
            argv += ["--script-fd", str(text.fileno()), "--chdir", "/", "--", *become, "/bin/sh", str(command)]
            started = subprocess.Popen(argv, pass_fds=[text.fileno()], stdout=subprocess.PIPE)
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == b"started\n"
            yield started
        finally:
            started.kill()
            started.wait()


@as_root
def test_asked_to_end_it_ends_the_build_and_itself() -> None:
    with running(STUBBORN) as contained:
        process.kill_contained(contained)
        assert contained.poll() is not None
        assert processes_of_user(UID) == []


@as_root
def test_a_build_is_ended_though_who_ends_it_is_killed_again_and_again() -> None:
    with running(STUBBORN) as contained:
        family = psutil.Process(contained.pid)
        stop = threading.Event()

        def disturb() -> None:
            for _ in range(3):
                with contextlib.suppress(psutil.Error):
                    for child in family.children():
                        child.kill()
                stop.wait(0.01)

        disturbing = threading.Thread(target=disturb)
        disturbing.start()
        process.kill_contained(contained)
        disturbing.join()
        assert contained.poll() is not None
        assert processes_of_user(UID) == []


@as_root
@pytest.mark.parametrize("times", [1, 20])
def test_it_may_be_asked_to_end_while_it_does(times: int) -> None:
    with running("echo started") as contained:
        for _ in range(times):
            contained.terminate()
        # By the signal, if that came when everything had been done.
        assert contained.wait(60) in (0, 128 + 9, -15)
        assert processes_of_user(UID) == []


@as_root
def test_its_command_ignores_no_signal() -> None:
    with running("echo started; grep SigIgn /proc/self/status") as contained:
        assert contained.stdout is not None
        # The C library keeps the signals from 32 for itself: a program can neither ignore nor restore those.
        assert int(contained.stdout.readline().split()[1], 16) & 0x7FFFFFFF == 0
