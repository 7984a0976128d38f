"""schemathesis against the live server, by the API's own description, with all of its checks: it finds nothing."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.people import PASSWORD, Person

FOLDER = Path(__file__).parent / "schemathesis"
PROGRAMS = Path(sys.executable).parent
# In `make test` the same questions each time, so that what is found belongs to the change that was made. The longer
# look asks others each time; what it found can be asked again.
QUICK_SEED = 1
SEED = os.environ.get("SCHEMATHESIS_SEED")
WAYS = ("token", "browser")
# Every operation and every check, with a few examples. Each value at its limit, most of what there is to ask, is asked
# by those who come with a token and by nobody; a browser differs in how it signs in, and asks that in the longer look.
QUICK = ("--max-examples", "1")
WITHOUT_LIMITS = ("--phases", "examples,fuzzing,stateful", "--max-examples", "2")


def explore(address: str, folder: Path, seed: int, *options: str, person: Person | None = None, way: str = "") -> None:
    """Have schemathesis try every operation, as nobody or as a person in some way; what it finds fails the test."""
    print(f"SCHEMATHESIS_SEED={seed}")
    tester = {"TESTER_EMAIL": person.email, "TESTER_PASSWORD": PASSWORD, "TESTER_COMES_WITH": way} if person else {}
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
            [*command, "--checks", "all", "--no-color", "--seed", str(seed), *options],
            env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
    assert ended.returncode == 0, report.read_text()[-20_000:]


def quick_seed() -> int:
    return int(SEED or QUICK_SEED)


def another_seed() -> int:
    return int(SEED or secrets.randbelow(2**32))


@pytest.mark.timeout(900)
def test_nobody_finds_anything(address: str, tmp_path: Path) -> None:
    explore(address, tmp_path, quick_seed(), *QUICK)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("way, options", list(zip(WAYS, (QUICK, WITHOUT_LIMITS), strict=True)), ids=WAYS)
def test_somebody_signed_in_finds_nothing(
    address: str, tmp_path: Path, alice: Person, way: str, options: tuple[str, ...]
) -> None:
    explore(address, tmp_path, quick_seed(), *options, person=alice, way=way)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nor_does_nobodys_longer_look(address: str, tmp_path: Path) -> None:
    explore(address, tmp_path, another_seed(), "--max-examples", "60")


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", WAYS)
def test_nor_does_a_longer_look(address: str, tmp_path: Path, alice: Person, way: str) -> None:
    explore(address, tmp_path, another_seed(), "--max-examples", "60", person=alice, way=way)
