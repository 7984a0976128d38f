"""The icon that a live site gives itself, for its project's card: from the store, as our pages ask no other host.

The site's front page names it, as it does for browsers; else it is `/favicon.ico` or the like; else the project's first
letter is drawn.
"""

from __future__ import annotations

from html import escape

from autostack.projects.front_page import LiveSite
from autostack.projects.images import SVG, Found, Image, of_live_site
from autostack.projects.models import Project

MAX_ICON_BYTES = 200_000
USUAL = ("/favicon.svg", "/favicon.ico", "/favicon.png", "/apple-touch-icon.png")
# What a file is, is told by its first bytes, not by its name. SVG has none; it begins as a document does.
MAGIC = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\x00\x00\x01\x00": "image/x-icon",
    b"GIF8": "image/gif",
    b"\xff\xd8\xff": "image/jpeg",
    b"<svg": SVG,
    b"<?xml": SVG,
}
LETTER = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" fill="#737373"/>'
    '<text x="16" y="21.5" text-anchor="middle" font-family="system-ui, sans-serif" font-size="16" font-weight="600" '
    'fill="#fff">{letter}</text></svg>'
)


def icon_of(project: Project, deployment_id: str | None) -> Image:
    """Return the icon of the project's live site; one that is final if that is the deployment with this id."""
    return of_live_site(project, deployment_id, _find, LETTER.format(letter=escape(project.name[:1].upper())))


def media_type_of(data: bytes) -> str | None:
    """Return what kind of image these bytes are; None if they are none that a page may show."""
    start = data.lstrip(b"\xef\xbb\xbf \t\r\n")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in MAGIC.items() if start.startswith(magic)), None)


def _find(site: LiveSite) -> Found | None:
    for path in (*site.front().icons, *USUAL):
        data = site.read(path, MAX_ICON_BYTES)
        kind = media_type_of(data) if data else None
        if data and kind:
            return data, kind
    return None
