"""What agents send; see docs/agent-api.md."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints

from autostack.builds.models import Outcome
from autostack.deployments.logs import MAX_LINE_CHARACTERS, Line
from autostack.deployments.status import LogLevel
from autostack.sites.manifest import Blob, Encoding, File, Path, check_place, content_type
from autostack.sites.rules.compile import MAX_SOURCE, Source
from autostack.web.schemas import Schema

MAX_LINES = 1_000
MAX_BLOBS = 1_000
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Short = Annotated[str, StringConstraints(max_length=255)]
RuleText = Annotated[str, StringConstraints(max_length=MAX_SOURCE, strip_whitespace=False)]
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


@dataclass(frozen=True, slots=True)
class FileIn:
    """One of thousands: a `Schema` would take twice as long to read, for checks that these types imply."""

    # A file's name may end in a space.
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(str_strip_whitespace=False)

    path: Path
    size: Annotated[int, Field(ge=0)]
    sha256: Sha256
    encodings: dict[Encoding, Blob] = field(default_factory=dict)
    pack: Sha256 | None = None
    start: Annotated[int, Field(ge=0)] | None = None

    def __post_init__(self) -> None:
        check_place(self.size, self.pack, self.start)

    def file(self) -> File:
        """Return the manifest's entry."""
        encodings = dict(self.encodings)
        return File(content_type(self.path), self.size, self.sha256, encodings, self.pack, self.start)


class RulesIn(Schema):
    """The files that say how the site is served, as they are."""

    redirects: RuleText = Field("", alias="_redirects")
    headers: RuleText = Field("", alias="_headers")
    netlify: RuleText = Field("", alias="netlify.toml")
    vercel: RuleText = Field("", alias="vercel.json")

    def sources(self) -> dict[Source, str]:
        return {
            "_redirects": self.redirects,
            "_headers": self.headers,
            "netlify.toml": self.netlify,
            "vercel.json": self.vercel,
        }


class FilesIn(Schema):
    files: list[FileIn]
    rules: RulesIn = RulesIn()


class BlobsIn(Schema):
    """Blobs that are ready to be uploaded, while others are still being made."""

    blobs: list[Blob] = Field(max_length=MAX_BLOBS)


class FinishIn(Schema):
    outcome: Literal[Outcome.BUILT, Outcome.FAILED]
    reason: Annotated[str, StringConstraints(max_length=1_000)] | None = None
