"""What agents send; see docs/agent-api.md."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from autostack.builds.models import Outcome
from autostack.deployments.logs import MAX_LINE_CHARACTERS, Line
from autostack.deployments.status import LogLevel
from autostack.sites.manifest import Blob, Encoding, Path
from autostack.web.schemas import Schema

MAX_LINES = 1_000
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Short = Annotated[str, StringConstraints(max_length=255)]
Text = Annotated[str, StringConstraints(max_length=10_000)]


class LineIn(Schema):
    elapsed_ms: int = Field(ge=0, le=10**9)
    level: LogLevel
    text: Annotated[str, StringConstraints(max_length=MAX_LINE_CHARACTERS, strip_whitespace=False)]

    def line(self) -> Line:
        return Line(self.text, self.elapsed_ms, self.level)


class BatchIn(Schema):
    """A numbered batch of lines, at once the heartbeat."""

    batch: int = Field(ge=1)
    lines: list[LineIn] = Field(max_length=MAX_LINES)


class DetectedIn(Schema):
    framework: Short | None = None
    package_manager: Short | None = None
    node_version: Short | None = None
    install_command: Text | None = None
    build_command: Text | None = None
    output_dir: Short | None = None


class SourceIn(DetectedIn):
    commit_hash: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{40}$")] | None = None
    commit_message: Text | None = None
    author: Short | None = None

    def source(self) -> dict[str, str | None]:
        return {"commit_hash": self.commit_hash, "commit_message": self.commit_message, "author": self.author}

    def detected(self) -> dict[str, str | None]:
        return DetectedIn.model_validate(self, from_attributes=True).as_json()


class FileIn(Schema):
    path: Annotated[Path, StringConstraints(strip_whitespace=False)]
    size: int = Field(ge=0)
    sha256: Sha256
    encodings: dict[Encoding, Blob] = Field(default_factory=dict)


class FilesIn(Schema):
    files: list[FileIn]


class FinishIn(Schema):
    outcome: Literal[Outcome.BUILT, Outcome.FAILED]
    reason: Annotated[str, StringConstraints(max_length=1_000)] | None = None
