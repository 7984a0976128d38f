"""Read a Dockerfile: what its last stage copies, sets and runs."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILDER = ROOT / "deploy/builder.Dockerfile"


@dataclass(frozen=True)
class Instruction:
    """One instruction, such as COPY, with the rest of its line, continued lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text)


@dataclass(frozen=True)
class Copied:
    """Files of the checkout, or of another stage, and the folder or file that they go to."""

    stage: str | None
    sources: tuple[str, ...]
    target: str


def read(path: Path = BUILDER) -> list[Instruction]:
    """Return a Dockerfile's instructions, comments left out."""
    lines = [line for line in path.read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [Instruction(*line.split(maxsplit=1)) for line in joined.splitlines()]


def copied(instructions: list[Instruction]) -> list[Copied]:
    """Return what is copied into the image."""
    found = []
    for words in (instruction.words for instruction in instructions if instruction.name == "COPY"):
        stage = next((word.removeprefix("--from=") for word in words if word.startswith("--from=")), None)
        *sources, target = [word for word in words if not word.startswith("--")]
        found.append(Copied(stage, tuple(sources), target))
    return found


def entry_point(instructions: list[Instruction]) -> list[str]:
    """Return the command line that a container starts with."""
    argv: list[str] = json.loads(next(each.text for each in instructions if each.name == "ENTRYPOINT"))
    return argv
