"""The agent builds real repositories: cloned over HTTP, installed by real npm, uploaded to a real server."""

from __future__ import annotations

import json
from pathlib import Path

from tests.agents import make_site


def test_a_plain_folder_of_pages_is_uploaded_as_it_is(tmp_path: Path) -> None:
    files = {"index.html": "<h1>Hello</h1>", "assets/app.css": "body{}\n" * 500, ".env": "SECRET=1"}
    with make_site(tmp_path, files) as site:
        assert site.build() == 0, site.web.log
        assert site.web.finished == {"outcome": "built", "reason": None}
        assert site.web.paths == ["/assets/app.css", "/index.html"]
        assert site.web.content("/index.html") == b"<h1>Hello</h1>"
        assert "Detected a plain static site" in site.web.log
