"""The JSON API of a project's password."""

from __future__ import annotations

import uuid

from flask import Blueprint

from autostack.projects import protection
from autostack.projects.access import require_project
from autostack.projects.models import Project
from autostack.projects.schemas import ProtectionIn, ProtectionOut
from autostack.projects.service import ProjectNotFound
from autostack.web.access import signed_in
from autostack.web.operations import operation

api = Blueprint("protection_api", __name__, url_prefix="/api/projects/<uuid:id>/protection")


@api.get("")
@signed_in
@operation(raises=[ProjectNotFound])
def show(id: uuid.UUID) -> ProtectionOut:
    """Tell whether a project's sites ask for a password, and at how many addresses that is still to come."""
    return _shown(require_project(id))


@api.put("")
@signed_in
@operation(raises=[ProjectNotFound])
def protect(id: uuid.UUID, body: ProtectionIn) -> ProtectionOut:
    """Have a project's sites ask for a password.

    Who knew an earlier one is asked again. Of many addresses, `pendingAddresses` follow in a moment.
    """
    return _shown(protection.protect(require_project(id), body.password, body.protects))


@api.delete("")
@signed_in
@operation(raises=[ProjectNotFound])
def unprotect(id: uuid.UUID) -> None:
    """Let everybody see a project's sites again."""
    protection.unprotect(require_project(id))


def _shown(project: Project) -> ProtectionOut:
    return ProtectionOut.of(project, protection.pending(project))
