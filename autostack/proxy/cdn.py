"""How long a CDN in front of us may keep an answer: see `autostack.sites.cdn`."""

from __future__ import annotations

from autostack.proxy.resolve import Local, Role, Serve
from autostack.sites.cdn import spellings
from autostack.sites.routes import Route
from autostack.sites.rules.match import Visit

# The hosts that a CDN is told of when they show another deployment.
KINDS = ("production", "branch")


def seconds(route: Route, visit: Visit, asked: bytes, decision: Local, most_s: int) -> int:
    """Return for how many seconds a CDN may keep this answer without asking, 0 for none.

    `asked` is the path as it was sent: a CDN that keeps `/%61` forgets it for that name alone, not for `/a`.
    """
    is_told_of = most_s > 0 and route.kind in KINDS and route.protection is None and not visit.looked_at
    if not is_told_of or not isinstance(decision, Serve) or decision.role is not Role.FILE:
        return 0
    return most_s if asked.decode("latin-1") in spellings(decision.path) else 0
