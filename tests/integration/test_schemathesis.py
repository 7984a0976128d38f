"""schemathesis against the live server, by the API's own description, with all of its checks: it finds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.people import PASSWORD, Person

FOLDER = Path(__file__).parent / "schemathesis"
PROGRAMS = Path(sys.executable).parent
# The same questions each time, so that what is found belongs to the change that was made. Take others now and then.
SEED = os.environ.get("SCHEMATHESIS_SEED", "1")


def explore(address: str, folder: Path, *options: str, person: Person | None = None) -> None:
    """Have schemathesis try every operation; what it finds fails the test."""
    tester = {"TESTER_EMAIL": person.email, "TESTER_PASSWORD": PASSWORD} if person else {}
    environment = {
        **os.environ,
        **tester,
        "SCHEMATHESIS_HOOKS": "hooks",
        "PYTHONPATH": str(FOLDER),
        "TESTED_API": address,
    }
    command = [PROGRAMS / "st", "--config-file", FOLDER / "schemathesis.toml", "run", f"{address}/api/openapi.json"]
    report = folder / "found.txt"
    with report.open("wb") as output:
        ended = subprocess.run(
            [*command, "--checks", "all", "--no-color", "--seed", SEED, *options],
            env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    assert ended.returncode == 0, report.read_text()[-20_000:]


@pytest.mark.timeout(400)
def test_nobody_finds_anything(address: str, tmp_path: Path) -> None:
    explore(address, tmp_path, "--phases", "examples,coverage")


@pytest.mark.timeout(400)
def test_somebody_signed_in_finds_nothing(address: str, tmp_path: Path, alice: Person) -> None:
    explore(address, tmp_path, "--max-examples", "5", person=alice)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nor_does_a_longer_look(address: str, tmp_path: Path, alice: Person) -> None:
    explore(address, tmp_path, "--max-examples", "60", person=alice)
