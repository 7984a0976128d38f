"""What of a deployment answers a path: a pure decision on the manifest. SERVING.md has the order and the reasons.

A path is only ever looked up in the manifest, never on a disk, so nothing in it can lead outside the site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from autostack.proxy.cache import remembered
from autostack.sites.manifest import File, Manifest
from autostack.sites.media_types import is_asset
from autostack.sites.rules.match import Match, Visit
from autostack.sites.rules.model import ERRORS, REDIRECTS, Rule
from autostack.sites.rules.targets import local_path, location

# What may stand unescaped in the path of a Location (RFC 3986, pchar).
PCHAR = "/!$&'()*+,;=:@~"
WELL_KNOWN = "/.well-known/"


class Role(Enum):
    """Why a file answers, which decides on its status and how long it may be kept."""

    FILE = 200
    FALLBACK = 201  # answered with 200, too: the one page of an application, under any path
    REWRITE = 202  # answered with 200, too: a file that a rule names for another path
    NOT_FOUND = 404
    GONE = 410

    @property
    def status(self) -> int:
        """The status that such a file is answered with."""
        return self.value if self.value >= 400 else 200


@dataclass(slots=True)
class Serve:
    """Answer with this file. `path` is its path in the manifest, `rule` the one that says so, if any does."""

    path: str
    file: File
    role: Role = Role.FILE
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """Answer with this address, percent-encoded; the request's query is for `rules.targets.with_query` to add."""

    location: str
    status: int = 308
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Remote:
    """Answer with what another server says under this address, of which the query is as above."""

    url: str
    rule: Rule


@dataclass(frozen=True, slots=True)
class Nothing:
    """The site has neither the file nor a page of its own to say so."""

    status: int = 404
    rule: Rule | None = None


class BadPath(ValueError):
    """A path that has no meaning: broken escapes, invalid UTF-8, NUL, or dot segments."""


Local = Serve | Redirect | Nothing
Decision = Local | Remote
# Finds a missing file in the deployments that were live on the host before.
Lend = Callable[[str], File | None]


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


def lend_nothing(path: str) -> None:
    """Stand for a host that showed nothing before."""


def resolve(manifest: Manifest, visit: Visit, takes_html: bool, lend: Lend = lend_nothing) -> Decision:
    """Decide on a visit. `takes_html` tells whether the request's Accept allows a page. Raises what `lend` raises."""
    answer = at_its_address(manifest, visit) or _lent(lend, visit.path)
    return answer or elsewhere(manifest, visit, takes_html)


def at_its_address(manifest: Manifest, visit: Visit) -> Decision | None:
    """Return what a rule with `!` says, else the file at this address or the way to it, else None."""
    if answer := _by_rule(manifest, visit, forced=True):
        return answer
    files, path = manifest.files, visit.path
    if path.startswith(WELL_KNOWN):
        # Others' protocols live here, and expect the file where it is.
        return Serve(path, files[path]) if path in files else None
    rules = manifest.rules
    if rules.clean_urls is not None or rules.trailing_slash is not None:
        return _by_style(manifest, path)
    return _clean_redirect(files, path) or _file(files, path)


def elsewhere(manifest: Manifest, visit: Visit, takes_html: bool) -> Decision:
    """Return what answers where there is no file: a rule without `!`, or what the site has for such paths."""
    if answer := _by_rule(manifest, visit, forced=False):
        return answer
    return Nothing() if visit.path.startswith(WELL_KNOWN) else _not_found(manifest, visit.path, takes_html)


def _by_rule(manifest: Manifest, visit: Visit, *, forced: bool) -> Decision | None:
    for match in manifest.matcher.matches(visit, forced=forced):
        if answer := follow(manifest, visit, match):
            return answer
    return None


def follow(manifest: Manifest, visit: Visit, match: Match) -> Decision | None:
    """Return what a rule that matches answers, None where it stands back."""
    rule, target = match.rule, match.rule.target
    if rule.status in REDIRECTS:
        address = location(target, match.captures)
        return None if _is_same(address, visit) else Redirect(address, rule.status, rule)
    if rule.is_remote:
        return Remote(location(target, match.captures), rule)
    found = _target_file(manifest.files, local_path(target, match.captures))
    if rule.status in ERRORS:
        return _with_status(manifest, visit, rule, found)
    if found is None:
        # The rule has answered: none after it is asked.
        return _nearest_not_found(manifest, visit.path, Role.NOT_FOUND, rule)
    return (
        None
        if _is_page_for_a_part(manifest, visit.path, found)
        else Serve(found, manifest.files[found], Role.REWRITE, rule)
    )


def _is_same(address: str, visit: Visit) -> bool:
    """Tell whether a redirect would lead to the address that was asked for, over and over.

    Its scheme does not count: a rule from http:// to https:// is for the server in front, which has done that already.
    """
    parts = urlsplit(address)
    is_here = parts.netloc.lower() in ("", visit.host)
    return is_here and unquote(parts.path or "/") == visit.path and parts.query.encode() in (b"", visit.query)


def _with_status(manifest: Manifest, visit: Visit, rule: Rule, found: str | None) -> Decision:
    role = Role(rule.status)
    if found is None:
        return _nearest_not_found(manifest, visit.path, role, rule)
    return Serve(found, manifest.files[found], role, rule)


def _is_page_for_a_part(manifest: Manifest, path: str, found: str) -> bool:
    """Tell whether a page would answer for a missing script or image, or for another protocol's file."""
    is_page = manifest.files[found].type.startswith("text/html")
    return is_page and path not in manifest.files and (is_asset(path) or path.startswith(WELL_KNOWN))


def _target_file(files: Mapping[str, File], path: str) -> str | None:
    stem = path.rstrip("/")
    return next((name for name in (path, f"{stem}.html", f"{stem}/index.html") if name in files), None)


def _file(files: Mapping[str, File], path: str) -> Serve | None:
    candidates = (f"{path}index.html",) if path.endswith("/") else (path, f"{path}.html")
    return next((Serve(name, files[name]) for name in candidates if name in files), None)


def _lent(lend: Lend, path: str) -> Serve | None:
    file = lend(path)
    return Serve(path, file) if file is not None else None


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


def _by_style(manifest: Manifest, path: str) -> Serve | Redirect | None:
    """Return what vercel.json's `cleanUrls` and `trailingSlash` make of a path."""
    files, is_clean = manifest.files, manifest.rules.clean_urls is not False
    stem = _stem(path) if is_clean or path.endswith("/") else path
    pages = [f"{stem}.html"] * is_clean + [f"{stem}/index.html"]
    page = next((name for name in pages if name in files), None)
    if path in files and (path not in pages or stem in files):
        return Serve(path, files[path])
    if page is None:
        return None
    address = _styled(stem, page, manifest.rules.trailing_slash)
    return Serve(page, files[page]) if path == address else Redirect(encode_path(address))


def _stem(path: str) -> str:
    for ending in ("/index.html", ".html", "/"):
        if path.endswith(ending):
            return path.removesuffix(ending)
    return path


def _styled(stem: str, page: str, trailing_slash: bool | None) -> str:
    """Return the address of a page."""
    with_slash = page.endswith("/index.html") if trailing_slash is None else trailing_slash
    return f"{stem}/" if with_slash or not stem else stem


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


def _nearest_not_found(manifest: Manifest, path: str, role: Role, rule: Rule) -> Serve | Nothing:
    page = _nearest_404(manifest.files, path)
    return Serve(page, manifest.files[page], role, rule) if page else Nothing(role.value, rule)


def _nearest_404(files: Mapping[str, File], path: str) -> str | None:
    folder = path
    while folder:
        folder = folder.rpartition("/")[0]
        if (page := f"{folder}/404.html") in files:
            return page
    return None
