"""What a CDN in front of the sites may keep, and what it is told to forget when a host shows another deployment.

It keeps files under their own addresses only: both sides ask `spellings`, so that whatever it may have kept is known
from the manifests alone. Answers by fallbacks, rules and conditions it asks for anew each time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import quote

from autostack.sites.manifest import Manifest
from autostack.sites.media_types import is_content_hashed

EVERYTHING = "/*"
INDEX = "index.html"
# What CloudFront takes in a path (RFC 3986, pchar) but for the asterisk, which stands for anything.
SAFE = "/!$&'()+,;=:@~"
MAX_PATH_CHARACTERS = 4_000


def addresses(path: str) -> tuple[str, ...]:
    """Return the paths under which a file of a site is served as itself, clean ones too."""
    if path.endswith(f"/{INDEX}"):
        return path, path.removesuffix(INDEX)
    return (path, path.removesuffix(".html")) if path.endswith(".html") else (path,)


def spellings(path: str) -> tuple[str, ...]:
    """Return those paths as a CDN is told of them, percent-encoded: under another spelling it keeps nothing."""
    return tuple(quote(address, safe=SAFE) for address in addresses(path))


def outdated(before: Manifest, after: Manifest) -> set[str]:
    """Return the paths whose answer may have changed, percent-encoded; EVERYTHING where files cannot tell that."""
    if replace(before, deployment_id=after.deployment_id, files=after.files) != after:
        return {EVERYTHING}
    differing = {
        path for path in before.files.keys() | after.files.keys() if before.files.get(path) != after.files.get(path)
    }
    # Of a file with a hash in its name, what is kept stays right: old pages may still ask for it.
    lasting = {
        path for path in differing if is_content_hashed(path) and (path in before.files) != (path in after.files)
    }
    return {spelling for path in differing - lasting for spelling in spellings(path)}


def limited(paths: Iterable[str], most: int) -> list[str]:
    """Return what to tell a CDN: the paths in order, or that it is everything where those are too many or too long."""
    told = sorted(set(paths))
    is_too_much = len(told) > most or any(len(path) > MAX_PATH_CHARACTERS for path in told)
    return [EVERYTHING] if is_too_much or EVERYTHING in told else told
