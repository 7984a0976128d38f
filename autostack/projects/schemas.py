"""What the projects API takes and answers."""

from __future__ import annotations

import uuid
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from autostack.encryption import Cipher
from autostack.extensions import settings
from autostack.paging import MAX_PAGE, MAX_PAGE_SIZE, Page
from autostack.projects.environment import preview, read_variables
from autostack.projects.models import Project, Protects
from autostack.settings import MAX_KEPT_DAYS, MAX_KEPT_DEPLOYMENTS
from autostack.sites.manifest import Fallback
from autostack.web.schemas import WHOLE, PaginationOut, Schema, Time

MAX_COMMAND_CHARACTERS = 2_000
MAX_FOLDER_CHARACTERS = 255
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"


def _folder(text: str) -> str | None:
    if text.startswith("/") or "\\" in text or ".." in text.split("/"):
        raise ValueError("must be a folder inside the repository, such as apps/web")
    return str(PurePosixPath(text)) if text else None


def _root_folder(text: str) -> str | None:
    folder = _folder(text)
    return None if folder == "." else folder


ProjectName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100, pattern=r"^\w[\w .\-]*$"),
    Field(examples=["portfolio"]),
]
RepositoryReference = Annotated[
    str,
    StringConstraints(min_length=1, max_length=255, pattern=NO_CONTROLS),
    Field(examples=["https://github.com/ada/portfolio"]),
]
Branch = Annotated[str, StringConstraints(min_length=1, max_length=100), Field(examples=["main"])]
Folder = Annotated[str, StringConstraints(max_length=MAX_FOLDER_CHARACTERS, pattern=NO_CONTROLS)]
RootFolder = Annotated[Folder, AfterValidator(_root_folder), Field(examples=["apps/web"])]
OutputFolder = Annotated[Folder, AfterValidator(_folder), Field(examples=["dist"])]
Command = Annotated[str, StringConstraints(max_length=MAX_COMMAND_CHARACTERS, pattern=NO_CONTROLS)]
InstallCommand = Annotated[Command, Field(examples=["npm ci"])]
BuildCommand = Annotated[Command, Field(examples=["npm run build"])]
NodeVersion = Annotated[
    str, StringConstraints(max_length=20, pattern=r"^v?\d{1,3}(\.(\d{1,4}|x)){0,2}$"), Field(examples=["22"])
]
Value = Annotated[str, StringConstraints(strip_whitespace=False)]
Variables = Annotated[
    dict[str, Value], BeforeValidator(read_variables), Field(examples=[{"API_URL": "https://api.example.com"}])
]
SiteUrl = Annotated[str, Field(examples=["https://portfolio.example.app"])]


class BuildSettingsIn(Schema):
    """How to build. A key that is absent keeps what stands; null has it detected; an empty command runs none.

    `fallback` is what a page that is not there gets: `auto` the site's 404.html, else 200.html, else index.html;
    `spa` always index.html; `none` always a 404.
    """

    branch: Branch | None = None
    root_dir: RootFolder | None = None
    install_command: InstallCommand | None = None
    build_command: BuildCommand | None = None
    output_dir: OutputFolder | None = None
    node_version: NodeVersion | None = None
    # Never null. A new project's default is its column's; of others, what is absent stays.
    fallback: Fallback = Field(default_factory=lambda: "auto", examples=["auto"])
    env_vars: Variables | None = None

    def changes(self) -> dict[str, Any]:
        """Return the keys that were given, by the names of Project's columns (`env_vars` in the clear)."""
        return self.model_dump(exclude_unset=True)


class ProjectIn(BuildSettingsIn):
    """A new project; without a name it is called as its repository is."""

    name: ProjectName | None = None
    repository: RepositoryReference


KeptDeployments = Annotated[int, WHOLE, Field(ge=1, le=MAX_KEPT_DEPLOYMENTS, examples=[50])]
KeptDays = Annotated[int, WHOLE, Field(ge=1, le=MAX_KEPT_DAYS, examples=[90])]


class ProjectChangesIn(BuildSettingsIn):
    """Old deployments are deleted that are neither among the newest `keepDeployments` nor of the last `keepDays` days.

    With both null, the platform's rule stands. What production or a branch shows is never deleted.
    """

    # Absent is neither null nor empty: the defaults stand for nothing, and are not described.
    name: ProjectName = Field(default_factory=str)
    repository: RepositoryReference = Field(default_factory=str)
    keep_deployments: KeptDeployments | None = None
    keep_days: KeptDays | None = None


class ProjectSearchIn(Schema):
    """The query of the list of projects. A page is full at two, three and four cards a row."""

    search: Annotated[str, StringConstraints(max_length=255)] = ""
    page: int = Field(1, ge=1, le=MAX_PAGE)
    limit: int = Field(24, ge=1, le=MAX_PAGE_SIZE)


class ProjectsIn(ProjectSearchIn):
    """The query of the API's list of projects: most people's are on one page."""

    search: Annotated[str, StringConstraints(max_length=255)] = Field("", examples=["portfolio"])
    limit: int = Field(MAX_PAGE_SIZE, ge=1, le=MAX_PAGE_SIZE)


class VariableOut(Schema):
    key: str = Field(examples=["API_URL"])
    preview: str = Field(examples=["ht••••••"])


class ProjectSummaryOut(Schema):
    """A project in a list. `url` is where its production deployment is served."""

    id: uuid.UUID
    name: str = Field(examples=["portfolio"])
    repository: str = Field(examples=["https://github.com/ada/portfolio"])
    branch: str = Field(examples=["main"])
    url: SiteUrl
    created_at: Time

    @classmethod
    def of(cls, project: Project) -> ProjectSummaryOut:
        return cls(**_summary(project))


class ProjectOut(ProjectSummaryOut):
    """All of a project but the values of its variables."""

    root_dir: str | None = Field(examples=["apps/web"])
    install_command: str | None = Field(examples=["npm ci"])
    build_command: str | None = Field(examples=["npm run build"])
    output_dir: str | None = Field(examples=["dist"])
    node_version: str | None = Field(examples=["22"])
    fallback: Fallback = Field(examples=["auto"])
    env_vars: list[VariableOut]
    auto_promote: bool
    keep_deployments: int | None = Field(examples=[50])
    keep_days: int | None = Field(examples=[90])
    updated_at: Time

    @classmethod
    def of(cls, project: Project) -> ProjectOut:
        stored = Cipher.of(settings()).decrypt_mapping(project.env_vars)
        return cls(
            **_summary(project),
            root_dir=project.root_dir,
            install_command=project.install_command,
            build_command=project.build_command,
            output_dir=project.output_dir,
            node_version=project.node_version,
            fallback=project.fallback,
            env_vars=[VariableOut(key=name, preview=preview(value)) for name, value in sorted(stored.items())],
            auto_promote=project.auto_promote,
            keep_deployments=project.keep_deployments,
            keep_days=project.keep_days,
            updated_at=project.updated_at,
        )


class ProjectsOut(Schema):
    projects: list[ProjectSummaryOut]
    pagination: PaginationOut

    @classmethod
    def of(cls, page: Page[Project]) -> ProjectsOut:
        shown = [ProjectSummaryOut.of(project) for project in page.items]
        return cls(projects=shown, pagination=PaginationOut.of(page))


class ProtectionIn(Schema):
    """What visitors must know, and whether of everything or of previews only (all but production and domains)."""

    password: Annotated[str, StringConstraints(strip_whitespace=False, min_length=1, max_length=1000)] = Field(
        examples=["correct horse battery"]
    )
    protects: Protects = Protects.EVERYTHING


class ProtectionOut(Schema):
    """Whether a password is asked for. It is never shown again."""

    enabled: bool
    protects: Protects
    # Addresses, the oldest deployments' own, that do not do so yet: they follow in a moment.
    pending_addresses: int = Field(examples=[0])

    @classmethod
    def of(cls, project: Project, pending: int) -> ProtectionOut:
        return cls(
            enabled=project.password_hash is not None,
            protects=Protects(project.protects),
            pending_addresses=pending,
        )


def _summary(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "name": project.name,
        "repository": project.repository,
        "branch": project.branch,
        "url": settings().site_url(project.label),
        "created_at": project.created_at,
    }
