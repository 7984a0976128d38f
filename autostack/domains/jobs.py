"""The job of domains: DNS is asked again about those that are due."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor

from autostack.domains import checks, service
from autostack.domains.service import DomainNotFound
from autostack.extensions import settings

# A job ends after some minutes, and DNS may take its time-out for each answer; the next sweep takes those left.
MOST_AT_ONCE = 40
THREADS = 8


def check_due() -> None:
    """Ask DNS about the domains that are due, several at a time, and have each served or not accordingly."""
    due, known = service.take_due(MOST_AT_ONCE), settings()
    with ThreadPoolExecutor(THREADS) as threads:
        findings = threads.map(lambda one: checks.look_up(one[1], known), due)
        for (id, _), finding in zip(due, findings, strict=True):
            # Its owner may be faster.
            with contextlib.suppress(DomainNotFound):
                service.note(id, finding)
