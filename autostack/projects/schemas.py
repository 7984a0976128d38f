"""What the projects API takes and answers."""

from __future__ import annotations

import uuid
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, StringConstraints

from autostack.encryption import Cipher
from autostack.extensions import settings
from autostack.projects.environment import preview, read_variables
from autostack.projects.models import Project
from autostack.web.schemas import Schema, Time

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


ProjectName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^\w[\w .\-]*$")]
RepositoryReference = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=NO_CONTROLS)]
Branch = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Folder = Annotated[str, StringConstraints(max_length=MAX_FOLDER_CHARACTERS, pattern=NO_CONTROLS)]
RootFolder = Annotated[Folder, AfterValidator(_root_folder)]
OutputFolder = Annotated[Folder, AfterValidator(_folder)]
Command = Annotated[str, StringConstraints(max_length=MAX_COMMAND_CHARACTERS, pattern=NO_CONTROLS)]
NodeVersion = Annotated[str, StringConstraints(max_length=20, pattern=r"^v?\d{1,3}(\.(\d{1,4}|x)){0,2}$")]
Value = Annotated[str, StringConstraints(strip_whitespace=False)]
Variables = Annotated[dict[str, Value], BeforeValidator(read_variables)]


class BuildSettingsIn(Schema):
    """How to build. A key that is absent keeps what stands; null has it detected; an empty command runs none."""

    branch: Branch | None = None
    root_dir: RootFolder | None = None
    install_command: Command | None = None
    build_command: Command | None = None
    output_dir: OutputFolder | None = None
    node_version: NodeVersion | None = None
    env_vars: Variables | None = None

    def changes(self) -> dict[str, Any]:
        """Return the keys that were given, by the names of Project's columns (`env_vars` in the clear)."""
        return self.model_dump(exclude_unset=True)


class ProjectIn(BuildSettingsIn):
    """A new project; without a name it is called as its repository is."""

    name: ProjectName | None = None
    repository: RepositoryReference


class ProjectChangesIn(BuildSettingsIn):
    name: ProjectName = ""
    repository: RepositoryReference = ""


class VariableOut(Schema):
    key: str
    preview: str


class ProjectSummaryOut(Schema):
    """A project in a list. `url` is where its production deployment is served."""

    id: uuid.UUID
    name: str
    repository: str
    branch: str
    url: str
    created_at: Time

    @classmethod
    def of(cls, project: Project) -> ProjectSummaryOut:
        return cls(**_summary(project))


class ProjectOut(ProjectSummaryOut):
    """All of a project but the values of its variables."""

    root_dir: str | None
    install_command: str | None
    build_command: str | None
    output_dir: str | None
    node_version: str | None
    env_vars: list[VariableOut]
    auto_promote: bool
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
            env_vars=[VariableOut(key=name, preview=preview(value)) for name, value in sorted(stored.items())],
            auto_promote=project.auto_promote,
            updated_at=project.updated_at,
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
