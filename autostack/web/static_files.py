"""How our own static files are sent: compressed, and by addresses that change with their content.

Of the pages only the documentation's are compressed. All hold the CSRF token, and most can show what a request brought
along: with both in it, a page's compressed length would tell somebody who can have requests sent and watch the line
what the token is (BREACH). The documentation is the same whatever is asked.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

from flask import Flask, Response, current_app, request
from flask_compress import Compress
from werkzeug.security import safe_join

COMPRESSION = {
    "COMPRESS_REGISTER": False,
    "COMPRESS_MIMETYPES": ["text/css", "text/javascript", "image/svg+xml", "text/html", "application/json"],
    "COMPRESS_ALGORITHM": ["br", "gzip"],
    "COMPRESS_ALGORITHM_STREAMING": ["br", "gzip"],
    "COMPRESS_BR_LEVEL": 5,
}
COMPRESSED_PAGES = {"api_docs.index", "api_docs.openapi", "public.chapter", "public.docs"}
VERSION_LENGTH = 12
A_YEAR_S = 31_536_000

_compress = Compress()


def register(app: Flask) -> None:
    """Compress files and documentation, and have `url_for` name the files' versions."""
    app.config.from_mapping(COMPRESSION)
    _compress.init_app(app)
    app.url_defaults(_name_version)
    app.after_request(_send_well)


def version(filename: str) -> str | None:
    """Return what a file's address ends in: the beginning of its content's hash. None if there is no such file."""
    path = safe_join(str(current_app.static_folder), filename)
    try:
        found = Path(path or "").stat()
    except OSError:
        return None
    # By its time too, so that who edits a file sees it without a restart.
    return _hash(str(path), found.st_mtime_ns)


@lru_cache(maxsize=512)
def _hash(path: str, _mtime_ns: int) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:VERSION_LENGTH]


def _name_version(endpoint: str, values: dict[str, Any]) -> None:
    if endpoint == "static" and "v" not in values:
        # What is None, `url_for` leaves out.
        values["v"] = version(values["filename"])


def _send_well(response: Response) -> Response:
    if request.endpoint not in {"static", *COMPRESSED_PAGES} or response.status_code not in {200, 304}:
        return response
    if request.endpoint == "static":
        _have_kept(response)
    return _compress.after_request(response)


def _have_kept(response: Response) -> None:
    filename = (request.view_args or {}).get("filename", "")
    # While an older process answers for a newer page, the address means what this one does not have.
    if (asked := request.args.get("v")) and asked == version(filename):
        response.cache_control.no_cache = None
        response.cache_control.public = True
        response.cache_control.max_age = A_YEAR_S
        response.cache_control.immutable = True
