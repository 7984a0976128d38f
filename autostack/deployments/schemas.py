"""What the deployments API takes and answers: the spec's shapes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from autostack.deployments import ansi, hosts, logs
from autostack.deployments.changes import Since
from autostack.deployments.models import Deployment, DeploymentLog, DeploymentStage
from autostack.deployments.service import ALL, FILTERS
from autostack.deployments.status import StageStatus, Status, Trigger
from autostack.extensions import settings
from autostack.paging import MAX_PAGE, MAX_PAGE_SIZE, Page
from autostack.projects.schemas import BuildSettingsIn, RepositoryReference, SiteUrl
from autostack.sites.changes import FileChange, Kind
from autostack.web.schemas import PaginationOut, Schema, Time
from autostack.web.times import duration

SHORT_COMMIT = 7
LISTED_AT_ONCE = 10
LOGS_IN_DETAIL = 200
MAX_SEQ = 2**53
MAX_SEARCH = 200
LINE = "[00:42] Build completed"


class DeploymentIn(BuildSettingsIn):
    """What to deploy: a project by its id, or a repository, a project of which is made if need be."""

    project_id: uuid.UUID | None = Field(None, examples=[None])
    repository: RepositoryReference | None = None

    def changes(self) -> dict[str, Any]:
        """Return the build settings that were given, by the names of Project's columns."""
        return self.model_dump(exclude_unset=True, exclude={"project_id", "repository"})


class ChoiceIn(Schema):
    """What is chosen on the wizard's first page: a project, or a repository."""

    project_id: uuid.UUID | None = None
    repository: RepositoryReference | None = None


class RepeatableIn(Schema):
    """The headers of a request that may be repeated."""

    idempotency_key: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")] | None = Field(
        None, alias="Idempotency-Key", examples=["5f0c2a1e-8d3b-4f6a-9c7e-1b2d3e4f5a6b"]
    )


class SearchIn(Schema):
    """The query of a list of deployments."""

    search: Annotated[str, StringConstraints(max_length=255)] = Field("", examples=["main"])
    status: Annotated[str, StringConstraints(pattern=f"^({'|'.join(FILTERS)})$")] = "all"
    page: int = Field(1, ge=1, le=MAX_PAGE)
    limit: int = Field(10, ge=1, le=MAX_PAGE_SIZE)


class BrowseIn(Schema):
    """The query of a page that lists deployments: it goes on from the deployment with a sequence, older or newer."""

    search: Annotated[str, StringConstraints(max_length=255)] = ""
    status: Annotated[str, StringConstraints(pattern=f"^({'|'.join(FILTERS)})$")] = ALL
    before: int | None = Field(None, ge=0, le=MAX_SEQ)
    after: int | None = Field(None, ge=0, le=MAX_SEQ)
    limit: int = Field(LISTED_AT_ONCE, ge=1, le=MAX_PAGE_SIZE)

    def wanted(self) -> dict[str, Any]:
        """Return what is asked for, by the names of `service.browse`."""
        shown = self.model_dump(include={"status", "before", "after", "limit"})
        return {"text": self.search, **shown}

    def filters(self) -> dict[str, Any]:
        """Return what the links to other pages of the list keep."""
        limit = {"limit": self.limit} if self.limit != LISTED_AT_ONCE else {}
        return {"search": self.search, "status": self.status, **limit}


class BrowseMineIn(BrowseIn):
    """The query of the page of one's own deployments: all, or those of a project.

    `new` is the deployment that has just been started, `seen` the version of the list that the browser shows.
    """

    project: uuid.UUID | None = None
    new: uuid.UUID | None = None
    seen: str = ""

    def wanted(self) -> dict[str, Any]:
        """Return what is asked for, by the names of `service.browse`."""
        return {**super().wanted(), "project": self.project}

    def filters(self) -> dict[str, Any]:
        """Return what the links to other pages of the list keep."""
        return {**super().filters(), **({"project": self.project} if self.project else {})}


class LogsIn(Schema):
    """The query of a page of a log."""

    after: int = Field(0, ge=0, le=MAX_SEQ)
    limit: int = Field(logs.PAGE, ge=1, le=logs.PAGE)


class LogViewIn(Schema):
    """The query of a log on a page: the lines after a number, or those that say something; else the newest."""

    after: int | None = Field(None, ge=0, le=MAX_SEQ)
    search: Annotated[str, StringConstraints(strip_whitespace=False, max_length=MAX_SEARCH)] = ""


class LinesFoundOut(Schema):
    """The numbers of the lines that say what was searched for; `more` if there are more of them."""

    lines: list[int]
    more: bool


class DeploymentSummaryOut(Schema):
    """A deployment in a list."""

    id: uuid.UUID
    project_id: uuid.UUID
    repo: str = Field(examples=["portfolio"])
    branch: str | None = Field(examples=["main"])
    status: Status = Field(examples=[Status.SUCCESS])
    author: str | None = Field(examples=["Ada Lovelace"])
    commit: str | None = Field(examples=["a1b2c3d"])
    duration: str | None = Field(examples=["2m 15s"])
    timestamp: Time
    url: SiteUrl | None


class StageOut(Schema):
    name: str = Field(examples=["Building"])
    status: str = Field(examples=[StageStatus.COMPLETED])
    timestamp: Time | None

    @classmethod
    def of(cls, stage: DeploymentStage) -> StageOut:
        return cls(name=stage.stage_name, status=stage.status, timestamp=stage.started_at)


class DeploymentOut(DeploymentSummaryOut):
    """All of a deployment, with the last lines of its log."""

    commit_hash: str | None = Field(examples=["a1b2c3d4e5f60718293a4b5c6d7e8f9012345678"])
    commit_message: str | None = Field(examples=["Say hello"])
    reason: str | None = Field(examples=[None])
    trigger: str = Field(examples=[Trigger.API])
    immutable_url: str = Field(examples=["https://portfolio-k3v9x2.example.app"])
    is_live: bool
    framework: str | None = Field(examples=["vite"])
    started_at: Time | None
    completed_at: Time | None
    file_count: int | None = Field(examples=[12])
    total_bytes: int | None = Field(examples=[48_213])
    stages: list[StageOut]
    logs: list[str] = Field(examples=[[LINE]])


class LogLineOut(Schema):
    seq: int = Field(examples=[118])
    timestamp: Time
    level: str = Field(examples=["info"])
    message: Annotated[str, StringConstraints(strip_whitespace=False)] = Field(examples=[LINE])

    @classmethod
    def of(cls, line: DeploymentLog) -> LogLineOut:
        return cls(seq=line.seq, timestamp=line.timestamp, level=line.log_level, message=ansi.plain(line.message))


class DeploymentsOut(Schema):
    deployments: list[DeploymentSummaryOut]
    pagination: PaginationOut

    @classmethod
    def of(cls, page: Page[Deployment]) -> DeploymentsOut:
        return cls(deployments=summaries(page.items), pagination=PaginationOut.of(page))


class RecentDeploymentsOut(Schema):
    recent_deployments: list[DeploymentSummaryOut]


class LogsOut(Schema):
    logs: list[LogLineOut]
    next_after: int = Field(examples=[118])

    @classmethod
    def of(cls, lines: Sequence[DeploymentLog], after: int) -> LogsOut:
        return cls(logs=[LogLineOut.of(line) for line in lines], next_after=lines[-1].seq if lines else after)


class FileChangeOut(Schema):
    path: str = Field(examples=["/index.html"])
    change: Kind = Field(examples=[Kind.CHANGED])
    bytes_before: int | None = Field(examples=[1_024])
    bytes_after: int | None = Field(examples=[1_180])

    @classmethod
    def of(cls, file: FileChange) -> FileChangeOut:
        return cls(path=file.path, change=file.kind, bytes_before=file.before, bytes_after=file.after)


class ChangesOut(Schema):
    """What a deployment changed. `files` are the first of those that differ, by path."""

    previous_id: uuid.UUID | None
    added: int = Field(examples=[2])
    changed: int = Field(examples=[1])
    removed: int = Field(examples=[0])
    unchanged: int = Field(examples=[9])
    bytes_before: int = Field(examples=[47_033])
    bytes_after: int = Field(examples=[48_213])
    files: list[FileChangeOut]

    @classmethod
    def of(cls, since: Since) -> ChangesOut:
        found = since.changes
        return cls(
            previous_id=since.previous_id,
            added=found.added,
            changed=found.changed,
            removed=found.removed,
            unchanged=found.unchanged,
            bytes_before=found.bytes_before,
            bytes_after=found.bytes_after,
            files=[FileChangeOut.of(file) for file in found.files],
        )


def summaries(deployments: Iterable[Deployment]) -> list[DeploymentSummaryOut]:
    """Return deployments as a list shows them, with one query for all their addresses."""
    shown = list(deployments)
    urls = hosts.addresses(shown)
    return [DeploymentSummaryOut(**_summary(deployment, urls)) for deployment in shown]


def detail(deployment: Deployment) -> DeploymentOut:
    """Return all of a deployment."""
    detected = deployment.detected or {}
    return DeploymentOut(
        **_summary(deployment, hosts.addresses([deployment])),
        commit_hash=deployment.commit_hash,
        commit_message=deployment.commit_message,
        reason=deployment.reason,
        trigger=deployment.trigger,
        immutable_url=settings().site_url(deployment.label),
        is_live=hosts.live_on(deployment.project.label) == deployment.id,
        framework=detected.get("framework"),
        started_at=deployment.started_at,
        completed_at=deployment.completed_at,
        file_count=deployment.file_count,
        total_bytes=deployment.total_bytes,
        stages=[StageOut.of(stage) for stage in deployment.stages],
        logs=[ansi.plain(line.message) for line in logs.tail(deployment.id, LOGS_IN_DETAIL)],
    )


def _summary(deployment: Deployment, urls: dict[uuid.UUID, str]) -> dict[str, Any]:
    return {
        "id": deployment.id,
        "project_id": deployment.project_id,
        "repo": deployment.project.name,
        "branch": deployment.branch,
        "status": deployment.state,
        "author": deployment.author,
        "commit": deployment.commit_hash[:SHORT_COMMIT] if deployment.commit_hash else None,
        "duration": duration(deployment.build_duration),
        "timestamp": deployment.created_at,
        "url": urls.get(deployment.id) if deployment.state is Status.SUCCESS else None,
    }
