"""What the admins' API takes and answers."""

from __future__ import annotations

import uuid
from typing import Annotated

from pydantic import Field, StringConstraints

from autostack.accounts.models import User
from autostack.deployments import schemas as deployments
from autostack.deployments.models import Deployment
from autostack.deployments.schemas import DeploymentSummaryOut
from autostack.paging import MAX_PAGE, MAX_PAGE_SIZE, Page
from autostack.web.schemas import PaginationOut, Schema, Time


class UserSearchIn(Schema):
    """The query of a list of users."""

    search: Annotated[str, StringConstraints(max_length=255)] = Field("", examples=["ada"])
    page: int = Field(1, ge=1, le=MAX_PAGE)
    limit: int = Field(10, ge=1, le=MAX_PAGE_SIZE)


class AdminUserOut(Schema):
    """A user as admins see them."""

    id: uuid.UUID
    name: str = Field(examples=["Ada Lovelace"])
    email: str = Field(examples=["ada@example.com"])
    email_verified: bool
    is_active: bool
    is_superuser: bool
    created_at: Time

    @classmethod
    def of(cls, user: User) -> AdminUserOut:
        return cls(**{name: getattr(user, name) for name in cls.model_fields})


class AdminUsersOut(Schema):
    users: list[AdminUserOut]
    pagination: PaginationOut

    @classmethod
    def of(cls, page: Page[User]) -> AdminUsersOut:
        return cls(users=[AdminUserOut.of(user) for user in page.items], pagination=PaginationOut.of(page))


class OwnerOut(Schema):
    id: uuid.UUID
    name: str = Field(examples=["Ada Lovelace"])
    email: str = Field(examples=["ada@example.com"])


class AdminDeploymentOut(DeploymentSummaryOut):
    """A deployment in the list of everybody's."""

    owner: OwnerOut


class AdminDeploymentsOut(Schema):
    deployments: list[AdminDeploymentOut]
    pagination: PaginationOut

    @classmethod
    def of(cls, page: Page[Deployment]) -> AdminDeploymentsOut:
        shown = zip(page.items, deployments.summaries(page.items), strict=True)
        return cls(
            deployments=[_with_owner(deployment, summary) for deployment, summary in shown],
            pagination=PaginationOut.of(page),
        )


def _with_owner(deployment: Deployment, summary: DeploymentSummaryOut) -> AdminDeploymentOut:
    user = deployment.user
    return AdminDeploymentOut(**dict(summary), owner=OwnerOut(id=user.id, name=user.name, email=user.email))
