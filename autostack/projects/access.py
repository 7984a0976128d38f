"""Loading a project and checking whose it is, in one call."""

from __future__ import annotations

import uuid

from autostack.projects import service
from autostack.projects.models import Project
from autostack.web.access import me


def require_project(id: uuid.UUID) -> Project:
    """Return the signed-in user's project. Raises NotFound for another's as for none, Unauthorized."""
    return service.project_of(me(), id)
