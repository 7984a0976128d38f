"""What answers an address of a project's sites, and why."""

from __future__ import annotations

import uuid

from autostack.errors import NotFound
from autostack.extensions import settings, store
from autostack.proxy.explain import Explanation, explain


def explain_address(project_id: uuid.UUID, label: str, address: str) -> Explanation:
    """Explain an address of a project with this label; a path alone is one of its production site.

    Raises Invalid, NotFound for the site of another project, StoreUnavailable. Holds no transaction of its own.
    """
    address = address.strip()
    if address.startswith("/") or not address:
        address = f"{settings().site_url(label)}{address or '/'}"
    explanation = explain(store(), settings(), address)
    if explanation.route.project_id != str(project_id):
        raise NotFound("This is no address of this project")
    return explanation
