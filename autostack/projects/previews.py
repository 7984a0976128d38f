"""A picture of a live site for its project's card.

It is the picture that the site has made for where it is linked to (`og:image`), if that is a file of its own; else a
sheet with its own colour and words. No screenshot: that would run a site's scripts, and all that they load from
elsewhere, in a browser of ours.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from functools import partial
from html import escape

from autostack import pictures
from autostack.projects.front_page import FrontPage, LiveSite
from autostack.projects.images import SVG, Found, Image, of_live_site
from autostack.projects.models import Project

MAX_PICTURE_BYTES = 2_000_000
SIZE = (640, 320)
# Whatever is no colour is passed over by browsers, and the grey beneath it stays.
SHEET = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 320" font-family="system-ui, sans-serif">'
    '<rect width="640" height="320" fill="#fff"/><g fill="#737373"><rect width="640" height="12" fill="{colour}"/></g>'
    "{lines}</svg>"
)
LINE = '<text x="40" y="{y}" font-size="{size}" font-weight="{weight}" fill="{ink}">{text}</text>'


def preview_of(project: Project, deployment_id: str | None) -> Image:
    """Return a picture of the project's live site; one that is final if that is the deployment with this id."""
    name = project.name
    return of_live_site(project, deployment_id, partial(_find, name), sheet(name, FrontPage("")))


def sheet(name: str, page: FrontPage) -> str:
    """Return a drawing of what a site's front page says of itself; with the project's name where it says nothing."""
    heading = page.heading or page.title or name
    above = page.title if page.title != heading else ""
    drawn = "".join([*_lines(above, 76, 20, 400, 48, 1), *_lines(heading, 136, 40, 700, 25, 2)])
    below = 184 if len(textwrap.wrap(heading, 25)) < 2 else 232
    drawn += "".join(_lines(page.description, below, 20, 400, 50, 2))
    return SHEET.format(colour=escape(page.colour), lines=drawn)


def _lines(text: str, y: int, size: int, weight: int, width: int, most: int) -> Iterator[str]:
    ink = "#171717" if weight > 400 else "#737373"
    for number, line in enumerate(textwrap.wrap(text, width, max_lines=most, placeholder="…")):
        yield LINE.format(y=y + number * round(1.2 * size), size=size, weight=weight, ink=ink, text=escape(line))


def _find(name: str, site: LiveSite) -> Found:
    front = site.front()
    for path in front.pictures:
        data = site.read(path, MAX_PICTURE_BYTES)
        try:
            if data:
                return pictures.drawn(data, SIZE), pictures.MEDIA_TYPE
        except pictures.Refused:
            continue
    return sheet(name, front).encode(), SVG
