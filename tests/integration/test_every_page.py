"""The list of all pages, which decides what is looked at in Chromium, has them all."""

from __future__ import annotations

import uuid
from string import Formatter

from flask import Flask

from tests.every_page import PUBLIC, SIGNED_IN

# Files and redirects, and what is shown only after something went before: tests of its own open that.
NO_PAGES = {
    "/avatars/<uuid:id>",
    "/deployments/<uuid:id>/logs.txt",
    "/healthz",
    "/login/link",
    "/projects/<uuid:id>/icon",
    "/projects/<uuid:id>/preview",
    "/settings/connections",
    "/static/<path:filename>",
    "/visit",
}
FOR_PROGRAMS = ("/api/", "/agent/")


def test_every_page_is_on_the_list(app: Flask) -> None:
    adapter = app.url_map.bind("localhost")
    listed = set()
    for path in (*PUBLIC.values(), *SIGNED_IN.values()):
        names = [name for _, name, _, _ in Formatter().parse(path) if name]
        listed.add(adapter.match(path.format(**dict.fromkeys(names, uuid.uuid4())).partition("?")[0])[0])
    missing = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not rule.websocket and rule.endpoint not in listed
    }
    # Parts of pages are named by a leading underscore.
    fragments = {path for path in missing if "/_" in path}
    assert {path for path in missing - fragments - NO_PAGES if not path.startswith(FOR_PROGRAMS)} == set()
