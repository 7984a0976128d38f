"""Which file of a deployment answers a path: a pure decision on the manifest. SERVING.md has the order and the reasons.

A path is only ever looked up in the manifest, never on a disk, so nothing in it can lead outside the site.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, unquote_to_bytes

from autostack.proxy.cache import remembered
from autostack.sites.manifest import File, Manifest
from autostack.sites.media_types import is_asset

# What may stand unescaped in the path of a Location (RFC 3986, pchar).
PCHAR = "/!$&'()*+,;=:@~"


class Role(Enum):
    """Why a file answers, which decides on its status and how long it may be kept."""

    FILE = 200
    FALLBACK = 201  # answered with 200, too: the one page of an application, under any path
    NOT_FOUND = 404


@dataclass(slots=True)
class Serve:
    """Answer with this file. `path` is its path in the manifest."""

    path: str
    file: File
    role: Role = Role.FILE


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with 308 to this path, percent-encoded, without a query."""

    location: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """The site has neither the file nor a page of its own to say so."""


class BadPath(ValueError):
    """A path that has no meaning: broken escapes, invalid UTF-8, NUL, or dot segments."""


Decision = Serve | Redirect | Nothing


@remembered(8192)
def decode_path(raw: bytes) -> str:
    """Return the path of a request target in plain text. Raises BadPath.

    Python's decoder takes only shortest-form UTF-8, so that no overlong sequence passes for a slash or a dot.
    """
    try:
        path = unquote_to_bytes(raw).decode() if b"%" in raw else raw.decode()
    except UnicodeDecodeError:
        raise BadPath("invalid UTF-8") from None
    segments = path.split("/")
    if not path.startswith("/") or "\0" in path or "." in segments or ".." in segments:
        raise BadPath("no path within a site")
    return path


def encode_path(path: str) -> str:
    """Return a path as it stands in a Location header."""
    return quote(path, safe=PCHAR)


def resolve(manifest: Manifest, path: str, takes_html: bool) -> Decision:
    """Decide on a decoded path. `takes_html` tells whether the request's Accept allows a page."""
    files = manifest.files
    if path.startswith("/.well-known/"):
        # Others' protocols live here, and expect either the file or a plain 404.
        return Serve(path, files[path]) if path in files else Nothing()
    return _clean_redirect(files, path) or _file(files, path) or _not_found(manifest, path, takes_html)


def _file(files: Mapping[str, File], path: str) -> Serve | None:
    candidates = (f"{path}index.html",) if path.endswith("/") else (path, f"{path}.html")
    return next((Serve(name, files[name]) for name in candidates if name in files), None)


def _clean_redirect(files: Mapping[str, File], path: str) -> Redirect | None:
    clean = _clean_path(files, path)
    return Redirect(encode_path(clean)) if clean and clean != path else None


def _clean_path(files: Mapping[str, File], path: str) -> str | None:
    """Return the one address of the page that `path` means, None if it means no page."""
    if path.endswith("/index.html") and path in files:
        return path.removesuffix("index.html")
    if path.endswith(".html") and path in files:
        stem = path.removesuffix(".html")
        # A file without extension or `/.html` keeps the page from having a clean address.
        return path if stem in files or stem.endswith("/") else stem
    if path.endswith("/"):
        stem = path.rstrip("/")
        only_page = f"{path}index.html" not in files and f"{stem}.html" in files
        return stem if only_page and path == f"{stem}/" else None
    only_index = path not in files and f"{path}.html" not in files and f"{path}/index.html" in files
    return f"{path}/" if only_index else None


def _not_found(manifest: Manifest, path: str, takes_html: bool) -> Serve | Nothing:
    files = manifest.files
    is_navigation = takes_html and not is_asset(path)
    may_fall_back = is_navigation and manifest.fallback != "none"
    if may_fall_back and manifest.fallback == "spa" and "/index.html" in files:
        return Serve("/index.html", files["/index.html"], Role.FALLBACK)
    if page := _nearest_404(files, path):
        return Serve(page, files[page], Role.NOT_FOUND)
    for page in ("/200.html", "/index.html"):
        if may_fall_back and page in files:
            return Serve(page, files[page], Role.FALLBACK)
    return Nothing()


def _nearest_404(files: Mapping[str, File], path: str) -> str | None:
    folder = path
    while folder:
        folder = folder.rpartition("/")[0]
        if (page := f"{folder}/404.html") in files:
            return page
    return None
