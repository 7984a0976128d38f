"""Images that stand for a project, made from its live site."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from autostack.errors import AutostackError
from autostack.extensions import db
from autostack.projects import overview
from autostack.projects.front_page import LiveSite
from autostack.projects.models import Project

SVG = "image/svg+xml"

Found = tuple[bytes, str]


@dataclass(frozen=True)
class Image:
    """An image. `is_final`: the deployment that was asked for will never have another."""

    data: bytes
    media_type: str
    is_final: bool = True


def of_live_site(
    project: Project, deployment_id: str | None, find: Callable[[LiveSite], Found | None], otherwise: str
) -> Image:
    """Return what `find` finds in the project's live site, else the SVG `otherwise`.

    It is final if that site is the deployment with this id.
    """
    drawn = otherwise.encode()
    live = overview.live_deployment(project)
    if live is None:
        return Image(drawn, SVG, is_final=False)
    project_id, live_id = str(project.id), str(live.id)
    # No connection of the pool waits with us for the store.
    db.session.rollback()
    try:
        data, media_type = find(LiveSite(project_id, live_id)) or (drawn, SVG)
    except AutostackError:
        # The store is away: the next page may show it.
        return Image(drawn, SVG, is_final=False)
    return Image(data, media_type, is_final=live_id == deployment_id)
