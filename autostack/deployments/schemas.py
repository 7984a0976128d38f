"""What the deployments API takes and answers: the spec's shapes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from autostack.deployments import ansi, hosts, logs
from autostack.deployments.models import Deployment, DeploymentLog, DeploymentStage
from autostack.deployments.service import FILTERS
from autostack.deployments.status import Status, Trigger
from autostack.extensions import settings
from autostack.paging import MAX_PAGE, MAX_PAGE_SIZE, Page
from autostack.projects.schemas import BuildSettingsIn, RepositoryReference, SiteUrl
from autostack.web.schemas import Schema, Time
from autostack.web.times import duration

SHORT_COMMIT = 7
LOGS_IN_DETAIL = 200
MAX_SEQ = 2**53
LINE = "[00:42] Build completed"


class DeploymentIn(BuildSettingsIn):
    """What to deploy: a project by its id, or a repository, a project of which is made if need be."""

    project_id: uuid.UUID | None = Field(None, examples=[None])
    repository: RepositoryReference | None = None

    def changes(self) -> dict[str, Any]:
        """Return the build settings that were given, by the names of Project's columns."""
        return self.model_dump(exclude_unset=True, exclude={"project_id", "repository"})


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


class LogsIn(Schema):
    """The query of a page of a log."""

    after: int = Field(0, ge=0, le=MAX_SEQ)
    limit: int = Field(logs.PAGE, ge=1, le=logs.PAGE)


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
    status: str = Field(examples=["success"])
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


class PaginationOut(Schema):
    current_page: int = Field(examples=[1])
    total_pages: int = Field(examples=[3])
    total_items: int = Field(examples=[27])

    @classmethod
    def of(cls, page: Page[Any]) -> PaginationOut:
        return cls(current_page=page.number, total_pages=page.total_pages, total_items=page.total_items)


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
