"""The life of a domain: its states, the only moves between them, and which one a look at DNS leads to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class DomainStatus(StrEnum):
    """Where a domain stands. The values are the API's and the database's."""

    # Nobody has shown yet that it is theirs.
    PENDING = "pending"
    # It is the project's and would be served, but leads elsewhere.
    VERIFIED = "verified"
    # It leads here.
    ACTIVE = "active"
    # It was the project's, and is served for a while longer, but nothing shows any more that it is.
    FAILING = "failing"

    @property
    def is_served(self) -> bool:
        return self is not DomainStatus.PENDING


MOVES: dict[DomainStatus, frozenset[DomainStatus]] = {
    DomainStatus.PENDING: frozenset({DomainStatus.VERIFIED, DomainStatus.ACTIVE}),
    DomainStatus.VERIFIED: frozenset({DomainStatus.ACTIVE, DomainStatus.FAILING}),
    DomainStatus.ACTIVE: frozenset({DomainStatus.VERIFIED, DomainStatus.FAILING}),
    DomainStatus.FAILING: frozenset({DomainStatus.VERIFIED, DomainStatus.ACTIVE, DomainStatus.PENDING}),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """What DNS said: whether the TXT record is there, and whether the name leads here. None: it did not answer."""

    owned: bool | None
    points_here: bool | None
    problem: str | None = None


def after(status: DomainStatus, finding: Finding, *, grace_is_over: bool) -> DomainStatus:
    """Return the state that a look at DNS leads to. A DNS that does not answer changes nothing."""
    if finding.owned is None:
        return status
    if finding.owned:
        return _when_owned(status, finding.points_here)
    if status is DomainStatus.PENDING or (status is DomainStatus.FAILING and grace_is_over):
        return DomainStatus.PENDING
    return DomainStatus.FAILING


def _when_owned(status: DomainStatus, points_here: bool | None) -> DomainStatus:
    if points_here is None:
        return status if status in (DomainStatus.ACTIVE, DomainStatus.VERIFIED) else DomainStatus.VERIFIED
    return DomainStatus.ACTIVE if points_here else DomainStatus.VERIFIED
