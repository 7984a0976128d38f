"""Claims of processes on what they fetch: one has each, and a dead one has none."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from autostack.proxy import claims
from autostack.proxy.claims import Claims, release_nothing

NAME = "0123456789abcdef" * 4
OTHER = "f" + NAME[1:]
# Takes a name, says so, and has it until its input ends or it is killed.
PROGRAM = """
import pathlib, signal, sys
from autostack.proxy.claims import Claims
claims = Claims(pathlib.Path(sys.argv[1]))
release = claims.take_now(sys.argv[2])
print(release is not None, flush=True)
sys.stdin.read()
release()
signal.pause()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "claims"


@pytest.fixture
def take(path: Path) -> Iterator[Callable[[str], subprocess.Popen[str]]]:
    """Have another process take a name."""
    started: list[subprocess.Popen[str]] = []

    def take(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", PROGRAM, str(path), name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        return process

    yield take
    for process in started:
        with process:
            process.kill()


def test_a_name_is_had_by_one_process_and_its_neighbour_is_free(path, take):
    take(NAME)
    own = Claims(path)
    assert own.take_now(NAME) is None
    assert own.is_taken(NAME)
    assert not own.is_taken(OTHER)
    assert own.take_now(str(uuid.uuid4())) is not None


def test_what_a_process_has_it_cannot_take_again_until_it_lets_it_go(path):
    own = Claims(path)
    release = own.take_now(NAME)
    assert release is not None
    assert own.take_now(NAME) is None
    release()
    assert own.take_now(NAME) is not None


def test_who_waits_has_the_name_once_it_is_released_or_its_holder_is_dead(path, take, monkeypatch):
    # Until its end is noticed, on a loaded machine, too.
    monkeypatch.setattr(claims, "PATIENCE_S", 60)

    async def wait_for(end: Callable[[], object]) -> None:
        waiting = asyncio.create_task(Claims(path).take(NAME))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        end()
        release = await waiting
        assert release is not release_nothing
        release()

    releases = take(NAME)
    assert releases.stdin is not None
    asyncio.run(wait_for(releases.stdin.close))
    asyncio.run(wait_for(take(NAME).kill))


def test_who_waits_for_too_long_does_without(path, take, monkeypatch):
    monkeypatch.setattr(claims, "PATIENCE_S", 0.05)
    take(NAME)
    assert asyncio.run(Claims(path).take(NAME)) is release_nothing
