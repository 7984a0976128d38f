"""The names of objects in the store. Every part is checked, so that no name reaches outside its folder."""

from __future__ import annotations

import re
from datetime import date
from uuid import UUID

PROJECTS = "projects"
SHA256 = re.compile(r"[0-9a-f]{64}")
HOST = re.compile(r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")
# What proxies counted, the days' salts, and the projects that have used up their traffic.
TRAFFIC_BATCHES = "traffic/batches"
TRAFFIC_SALTS = "traffic/salts"
TRAFFIC_LIMITS = "traffic/limits.json"
# Written anew when not every proxy has heard of a route: they look at it, and read all routes again then.
MISSED_ANNOUNCEMENT = "missed-announcement"
CACHE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


def project(project_id: str) -> str:
    """Return the folder of everything that belongs to a project. Raises ValueError for what is no UUID."""
    return f"{PROJECTS}/{_uuid(project_id)}"


def blobs(project_id: str) -> str:
    """Return the folder of a project's blobs."""
    return f"{project(project_id)}/blobs"


def blob(project_id: str, sha256: str) -> str:
    """Return the name of a file's content. Raises ValueError unless `sha256` is 64 lower-case hex digits."""
    return f"{blobs(project_id)}/{_matching(SHA256, sha256, 'SHA-256')}"


def deployment(project_id: str, deployment_id: str) -> str:
    """Return the folder of one deployment."""
    return f"{project(project_id)}/deployments/{_uuid(deployment_id)}"


def manifest(project_id: str, deployment_id: str) -> str:
    """Return the name of a deployment's manifest."""
    return f"{deployment(project_id, deployment_id)}/manifest.json"


def listing(project_id: str, deployment_id: str, attempt_id: str) -> str:
    """Return the name of the manifest that a build attempt proposes; publishing makes it the deployment's."""
    return f"{deployment(project_id, deployment_id)}/attempts/{_uuid(attempt_id)}.json"


def caches(project_id: str) -> str:
    """Return the folder of a project's build caches."""
    return f"{project(project_id)}/cache"


def cache(project_id: str, name: str) -> str:
    """Return the name of a build cache. Raises ValueError for anything but letters, digits and `._-`."""
    return f"{caches(project_id)}/{_matching(CACHE_NAME, name, 'cache name')}.tar.zst"


def route(host: str) -> str:
    """Return the name of a host's route: a label under SITES_DOMAIN, or a whole custom domain. Raises ValueError."""
    return f"routes/{_matching(HOST, host, 'host')}.json"


def traffic_batch(batch_id: str) -> str:
    """Return the name of what a proxy counted while Redis was away."""
    return f"{TRAFFIC_BATCHES}/{_uuid(batch_id)}.json"


def traffic_salt(day: date) -> str:
    """Return the name of the salt that a day's visitors are counted with."""
    return f"{TRAFFIC_SALTS}/{day.isoformat()}"


def is_id(text: str) -> bool:
    """Tell whether a folder's name may be that of a project or a deployment."""
    try:
        return bool(_uuid(text))
    except ValueError:
        return False


def _uuid(text: str) -> str:
    # UUID() also reads braces and URNs; only the canonical form names an object, so that nothing has two names.
    if str(UUID(text)) != text:
        raise ValueError(f"not a UUID in its canonical form: {text!r}")
    return text


def _matching(pattern: re.Pattern[str], text: str, what: str) -> str:
    if pattern.fullmatch(text) is None:
        raise ValueError(f"not a {what}: {text!r}")
    return text
