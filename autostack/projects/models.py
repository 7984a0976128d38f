"""Projects, and the host names that their sites are served at."""

from __future__ import annotations

import uuid

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, UniqueConstraint, null, text, true
from sqlalchemy.orm import Mapped, mapped_column, relationship

from autostack.accounts.models import User
from autostack.columns import Created, Id, Updated
from autostack.extensions import Base


class Project(Base):
    """A repository (or a folder of one) that its owner deploys.

    A build setting that is NULL is detected anew by each build; an empty command means: run none.
    """

    __tablename__ = "projects"
    __table_args__ = (
        UniqueConstraint("user_id", "name"),
        Index("ix_projects_user_id_repository_key", "user_id", "repository_key"),
    )

    id: Mapped[Id]
    user_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    # The label of the production host: unique on the platform, because host names are.
    label: Mapped[str] = mapped_column(String(63), unique=True)
    repository: Mapped[str] = mapped_column(String(255))
    # The URL in a normal form: two spellings of one repository are one repository.
    repository_key: Mapped[str] = mapped_column(String(255))
    branch: Mapped[str] = mapped_column(String(100), server_default="main")
    root_dir: Mapped[str | None] = mapped_column(String(255))
    install_command: Mapped[str | None] = mapped_column(Text)
    # `default=null()`: the ORM would otherwise leave the column out, and the server's default stand for "detect".
    build_command: Mapped[str | None] = mapped_column(Text, default=null(), server_default="npm run build")
    output_dir: Mapped[str | None] = mapped_column(String(255), default=null(), server_default="dist")
    node_version: Mapped[str | None] = mapped_column(String(20))
    # Encrypted JSON object: name → value. See autostack.encryption.
    env_vars: Mapped[str | None] = mapped_column(Text)
    github_repo_id: Mapped[str | None] = mapped_column(String(255))
    # False after a roll-back: new deployments are built but don't go live until the owner resumes.
    auto_promote: Mapped[bool] = mapped_column(server_default=true(), default=True)
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]

    user: Mapped[User] = relationship()


class SiteHost(Base):
    """A host label and the deployment that it serves: the truth of which the route object is a copy.

    `generation` grows with every switch, taken under the row's lock; `published_generation` is the one that the
    object store is known to hold. The sweep writes the route again wherever they differ.
    """

    __tablename__ = "site_hosts"
    __table_args__ = (
        Index("ix_site_hosts_project_id_kind_branch", "project_id", "kind", "branch"),
        Index("ix_site_hosts_unwritten", "label", postgresql_where=text("published_generation < generation")),
    )

    label: Mapped[str] = mapped_column(String(63), primary_key=True)
    # A host outlives its project as a tombstone: NULL says that nothing is served here any more.
    project_id: Mapped[uuid.UUID | None] = mapped_column(ForeignKey("projects.id", ondelete="SET NULL"), index=True)
    deployment_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("deployments.id", ondelete="SET NULL", use_alter=True), index=True
    )
    # What it showed before, and shows again if the present deployment cannot be put live.
    previous_deployment_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("deployments.id", ondelete="SET NULL", use_alter=True), index=True
    )
    kind: Mapped[str] = mapped_column(String(20))
    branch: Mapped[str | None] = mapped_column(String(100))
    generation: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    published_generation: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    updated_at: Mapped[Updated]


class Removal(Base):
    """A folder of the object store whose owner was deleted. It goes once no route leads there, and then this row."""

    __tablename__ = "removals"

    prefix: Mapped[str] = mapped_column(String(255), primary_key=True)
    created_at: Mapped[Created]
