"""Loading a domain and checking whose it is, in one call."""

from __future__ import annotations

import uuid

from autostack.domains import service
from autostack.domains.models import Domain
from autostack.web.access import me


def require_domain(id: uuid.UUID) -> Domain:
    """Return a domain of the signed-in user's projects. Raises NotFound for another's as for none, Unauthorized."""
    return service.domain_of(me(), id)
