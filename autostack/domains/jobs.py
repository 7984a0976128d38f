"""The job of domains: DNS is asked again about those that are due."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlalchemy.exc import SQLAlchemyError

from autostack.domains import checks, service
from autostack.domains.service import DomainNotFound
from autostack.errors import AutostackError
from autostack.extensions import db, settings

log = structlog.stdlib.get_logger(__name__)

# A job ends after some minutes, and DNS may take its time-out for each answer; the next sweep takes those left.
MOST_AT_ONCE = 40
THREADS = 8


def check_due() -> None:
    """Ask DNS about the domains that are due, several at a time, and have each served or not accordingly."""
    due, known = service.take_due(MOST_AT_ONCE), settings()
    with ThreadPoolExecutor(THREADS) as threads:
        findings = threads.map(lambda one: checks.look_up(one[1], known), due)
        for (id, _), finding in zip(due, findings, strict=True):
            try:
                service.note(id, finding)
            except DomainNotFound:
                # Its owner was faster.
                db.session.rollback()
            except (AutostackError, SQLAlchemyError):
                # What was found about the others is to be noted all the same.
                db.session.rollback()
                log.exception("domain not noted", domain_id=str(id))
