"""The JSON API of admins."""

from __future__ import annotations

import uuid

from flask import Blueprint

from autostack.admin import service
from autostack.admin.schemas import AdminDeploymentsOut, AdminUserOut, AdminUsersOut, UserSearchIn
from autostack.admin.service import BeingDeleted, LastAdmin, OwnAccount, UserNotFound
from autostack.deployments import service as deployments
from autostack.deployments.schemas import SearchIn
from autostack.web.access import me, superuser
from autostack.web.operations import operation

api = Blueprint("admin_api", __name__, url_prefix="/api/admin")


@api.get("/users")
@superuser
@operation()
def list_users(query: UserSearchIn) -> AdminUsersOut:
    """List all users.

    The newest come first.
    """
    return AdminUsersOut.of(service.search_users(text=query.search, page=query.page, limit=query.limit))


@api.post("/users/<uuid:id>/suspend")
@superuser
@operation(raises=[UserNotFound, OwnAccount, LastAdmin])
def suspend(id: uuid.UUID) -> AdminUserOut:
    """Suspend a user.

    Every session and token of theirs ends at once; their sites stay.
    """
    return AdminUserOut.of(service.suspend(me(), id))


@api.post("/users/<uuid:id>/reactivate")
@superuser
@operation(raises=[UserNotFound, BeingDeleted])
def reactivate(id: uuid.UUID) -> AdminUserOut:
    """Let a suspended user sign in again."""
    return AdminUserOut.of(service.reactivate(me(), id))


@api.get("/deployments")
@superuser
@operation()
def list_deployments(query: SearchIn) -> AdminDeploymentsOut:
    """List everybody's deployments.

    The newest come first, each with its owner.
    """
    found = deployments.search_everyones(text=query.search, status=query.status, page=query.page, limit=query.limit)
    return AdminDeploymentsOut.of(found)
