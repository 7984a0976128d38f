"""Projects, and the host names that their sites are served at."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    Text,
    UniqueConstraint,
    null,
    select,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship

from autostack.accounts.models import User
from autostack.columns import Created, Id, Updated
from autostack.extensions import Base
from autostack.hiding import show_only, table_of
from autostack.sites.manifest import Fallback


class Protects(StrEnum):
    """What a project's password protects."""

    EVERYTHING = "everything"
    PREVIEWS = "previews"


class Project(Base):
    """A repository (or a folder of one) that its owner deploys.

    A build setting that is NULL is detected anew by each build; an empty command means: run none.
    """

    __tablename__ = "projects"
    __table_args__ = (
        UniqueConstraint("user_id", "name"),
        CheckConstraint("fallback IN ('auto', 'spa', 'none')", name="fallback"),
        Index("ix_projects_user_id_repository_key", "user_id", "repository_key"),
        Index("ix_projects_deleted", "id", postgresql_where=text("deleted_at IS NOT NULL")),
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
    # What a page that is not there gets.
    fallback: Mapped[Fallback] = mapped_column(Text, server_default="auto", default="auto")
    # Encrypted JSON object: name → value. See autostack.encryption.
    env_vars: Mapped[str | None] = mapped_column(Text)
    github_repo_id: Mapped[str | None] = mapped_column(String(255))
    # False after a roll-back: new deployments are built but don't go live until the owner resumes.
    auto_promote: Mapped[bool] = mapped_column(server_default=true(), default=True)
    # What visitors must know, as a bcrypt hash; the key's id is new with each password. See projects.protection.
    password_hash: Mapped[str | None] = mapped_column(String(60))
    password_key_id: Mapped[str | None] = mapped_column(String(64))
    protects: Mapped[str] = mapped_column(String(20), server_default="everything", default="everything")
    # Which old deployments stay; NULL stands for the platform's. See deployments.retention.
    keep_deployments: Mapped[int | None]
    keep_days: Mapped[int | None]
    created_at: Mapped[Created]
    updated_at: Mapped[Updated]
    # From then on no query finds it, nor its deployments; a job takes them away. See `autostack.projects.deleted`.
    deleted_at: Mapped[datetime | None]

    user: Mapped[User] = relationship()


_projects = table_of(Project)
DELETED = select(_projects.c.id).where(_projects.c.deleted_at.is_not(None))
show_only(Project, Project.deleted_at.is_(None))


class SiteHost(Base):
    """A host and the deployment that it serves: the truth of which the route object is a copy.

    `label` is one label under SITES_DOMAIN, or a whole domain (kind `domain`), which is told by its dots.

    `generation` grows with every switch, taken under the row's lock; `published_generation` is the one that the
    object store is known to hold. The sweep writes the route again wherever they differ.
    """

    __tablename__ = "site_hosts"
    __table_args__ = (
        Index("ix_site_hosts_project_id_kind_branch", "project_id", "kind", "branch"),
        Index("ix_site_hosts_unwritten", "label", postgresql_where=text("published_generation < generation")),
        Index("ix_site_hosts_cdn_held", "cdn_held_until", postgresql_where=text("cdn_held_until IS NOT NULL")),
    )

    label: Mapped[str] = mapped_column(String(253), primary_key=True)
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
    # The host that visitors are sent on to, instead of being served here.
    redirect_to: Mapped[str | None] = mapped_column(String(253))
    generation: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    published_generation: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    # What a CDN was told of last; the deployment need not be there any more. See deployments.cdn.
    cdn_generation: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    cdn_deployment_id: Mapped[uuid.UUID | None]
    # How often in a row it refused to be told, and until when it is left alone.
    cdn_refusals: Mapped[int] = mapped_column(server_default="0", default=0)
    cdn_held_until: Mapped[datetime | None]
    updated_at: Mapped[Updated]


class Removal(Base):
    """A folder of the object store whose owner was deleted. It goes once no route leads there, and then this row."""

    __tablename__ = "removals"

    prefix: Mapped[str] = mapped_column(String(255), primary_key=True)
    created_at: Mapped[Created]


class Collection(Base):
    """How far a project's garbage is collected: blobs up to `cursor` were looked at. See `deployments.garbage`.

    `epoch` grows each time that blobs begin to be deleted; until `leased_until`, which is moved to when that is done,
    no build is told which blobs the store has.
    """

    __tablename__ = "collections"

    project_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), primary_key=True)
    epoch: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    leased_until: Mapped[datetime | None]
    cursor: Mapped[str] = mapped_column(String(64), server_default="", default="")
    # What this collection has freed so far; once it ended, what it freed in all.
    objects: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, server_default="0", default=0)
    ended_at: Mapped[datetime | None]
