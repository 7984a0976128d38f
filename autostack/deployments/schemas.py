"""What the deployments API takes and answers: the spec's shapes."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from autostack.deployments import ansi, hosts, logs
from autostack.deployments.models import Deployment, DeploymentLog, DeploymentStage
from autostack.deployments.service import FILTERS, MAX_PAGE_SIZE, Page
from autostack.deployments.status import Status
from autostack.extensions import settings
from autostack.projects.schemas import BuildSettingsIn, RepositoryReference
from autostack.web.schemas import Schema, Time
from autostack.web.times import duration

SHORT_COMMIT = 7
LOGS_IN_DETAIL = 200
MAX_PAGE = 1_000_000
MAX_SEQ = 2**53


class DeploymentIn(BuildSettingsIn):
    """What to deploy: a project by its id, or a repository, a project of which is made if need be."""

    project_id: uuid.UUID | None = None
    repository: RepositoryReference | None = None

    def changes(self) -> dict[str, Any]:
        """Return the build settings that were given, by the names of Project's columns."""
        return self.model_dump(exclude_unset=True, exclude={"project_id", "repository"})


class SearchIn(Schema):
    """The query of a list of deployments."""

    search: Annotated[str, StringConstraints(max_length=255)] = ""
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
    repo: str
    branch: str | None
    status: Status
    author: str | None
    commit: str | None
    duration: str | None
    timestamp: Time
    url: str | None


class StageOut(Schema):
    name: str
    status: str
    timestamp: Time | None

    @classmethod
    def of(cls, stage: DeploymentStage) -> StageOut:
        return cls(name=stage.stage_name, status=stage.status, timestamp=stage.started_at)


class DeploymentOut(DeploymentSummaryOut):
    """All of a deployment, with the last lines of its log."""

    commit_hash: str | None
    commit_message: str | None
    reason: str | None
    trigger: str
    immutable_url: str
    is_live: bool
    framework: str | None
    started_at: Time | None
    completed_at: Time | None
    file_count: int | None
    total_bytes: int | None
    stages: list[StageOut]
    logs: list[str]


class PaginationOut(Schema):
    current_page: int
    total_pages: int
    total_items: int

    @classmethod
    def of(cls, page: Page) -> PaginationOut:
        return cls(current_page=page.number, total_pages=page.total_pages, total_items=page.total_items)


class LogLineOut(Schema):
    seq: int
    timestamp: Time
    level: str
    message: Annotated[str, StringConstraints(strip_whitespace=False)]

    @classmethod
    def of(cls, line: DeploymentLog) -> LogLineOut:
        return cls(seq=line.seq, timestamp=line.timestamp, level=line.log_level, message=ansi.plain(line.message))


def summaries(deployments: Iterable[Deployment]) -> list[dict[str, Any]]:
    """Return deployments as a list shows them, with one query for all their addresses."""
    shown = list(deployments)
    urls = hosts.addresses(shown)
    return [DeploymentSummaryOut(**_summary(deployment, urls)).as_json() for deployment in shown]


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
