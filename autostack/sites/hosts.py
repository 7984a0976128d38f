"""The host labels of a project's sites: pure functions from names to DNS labels, see SERVING.md, Host names.

`<project>` production · `<project>-<8 hex>` one deployment · `<project>-git-<branch>` a branch · `<project>-pr-<n>` a
pull request. From a label alone, its kind and project are certain: a project's label never looks like another kind's.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import unicodedata
from collections.abc import Callable

MAX_LABEL = 63
# Leaves 18 characters for a branch: `-git-` is 5.
MAX_PROJECT_LABEL = 40
HASH_DIGITS = 6
MAX_PULL_REQUEST = 2**31 - 1

_RESERVED = """
about account accounts admin api app assets auth autoconfig autodiscover autostack billing cdn console dashboard deploy
dev dns docs email ftp git help host hostmaster imap internal localhost login logout mail mta-sts mx news ns ns1 ns2
origin pop postmaster production proxy register root security server sites smtp ssh ssl staging static status support
system test webhooks webmail webmaster wildcard wpad www www1 www2
"""
RESERVED = frozenset(_RESERVED.split())
# A label that ends in `-git` or `-pr` would look like another project's as soon as a deployment's id is added.
ANOTHERS = re.compile(r".*-git(-.*)?|.*-pr(-\d+)?|.*-[0-9a-f]{8}")


def slug(text: str) -> str:
    """Return lower-case ASCII letters, digits and single inner dashes; empty if nothing of that is in `text`."""
    ascii_text = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", ascii_text).strip("-")


def looks_like_anothers(label: str) -> bool:
    """Tell whether a label could be read as a deployment's, a branch's or a pull request's."""
    return ANOTHERS.fullmatch(label) is not None


def production_label(name: str, taken: Callable[[str], bool]) -> str:
    """Return the label of a new project with this name: its slug where that is free, else with a short suffix.

    `taken` tells whether a label belongs to another project. The caller's database has the last word: two callers may
    be told the same.
    """
    plain = slug(name)[:MAX_PROJECT_LABEL].rstrip("-") or "site"
    if plain not in RESERVED and not looks_like_anothers(plain) and not taken(plain):
        return plain
    base = _without_marks(plain)[: MAX_PROJECT_LABEL - HASH_DIGITS - 1].rstrip("-")
    candidates = (f"{base}-{_hash(f'{name}/{number}')}" for number in itertools.count())
    return next(label for label in candidates if not looks_like_anothers(label) and not taken(label))


def deployment_label(project_label: str, deployment_id: str) -> str:
    """Return the label that shows one deployment for ever. `deployment_id` is a UUID."""
    return f"{project_label}-{deployment_id[:8]}"


def branch_label(project_label: str, branch: str) -> str:
    """Return the label that shows the newest deployment of a branch."""
    start = f"{project_label}-git-"
    plain = slug(branch)
    room = MAX_LABEL - len(start)
    if plain == branch and len(plain) <= room:
        return start + plain
    short = plain[: room - HASH_DIGITS - 1].rstrip("-")
    return start + "-".join(filter(None, [short, _hash(branch)]))


def pr_label(project_label: str, number: int) -> str:
    """Return the label that shows a pull request. Raises ValueError for a number that no forge gives."""
    if not 1 <= number <= MAX_PULL_REQUEST:
        raise ValueError(f"not the number of a pull request: {number}")
    return f"{project_label}-pr-{number}"


def _without_marks(label: str) -> str:
    # `my-git-tool` becomes `mygit-tool`: no suffix could make it clear that this is no branch of `my`.
    return re.sub(r"-(git|pr)(?=-|$)", r"\1", label)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_DIGITS]
