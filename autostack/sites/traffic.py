"""What the proxies counted, on its way to PostgreSQL; and which sites have used up their traffic, on the way back.

A proxy sends a batch every few seconds: to a list in Redis, or while Redis is away as an object of the store. Each has
an id, and is counted once however often it arrives.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated

from pydantic import AwareDatetime, Base64Bytes, Field, StringConstraints, TypeAdapter, ValidationError

from autostack.errors import Invalid
from autostack.sites.manifest import Uuid, first_mistake
from autostack.sites.visitors import MAX_BYTES

LIST = "autostack:traffic"
# About a day of one proxy's: beyond it Redis would grow for as long as nobody gathers, and the store takes them.
MAX_LISTED = 20_000
MAX_BATCH_BYTES = 16_000_000
MAX_NAME_CHARACTERS = 200
MAX_NAMES = 100


class TrafficInvalid(Invalid):
    """A batch or a list of limits that breaks its own rules."""

    code = "TRAFFIC_INVALID"


class Kind(StrEnum):
    """What a list of the most frequent is of."""

    PAGE = "page"
    FILE = "file"
    MISSING = "missing"
    REFERRER = "referrer"


class Limit(StrEnum):
    """What a proxy does with a site that has used up its traffic."""

    THROTTLE = "throttle"
    STOP = "stop"


Count = Annotated[int, Field(ge=0, lt=2**53)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME_CHARACTERS, pattern=r"^[^\x00]*$")]
Registers = Annotated[Base64Bytes, Field(max_length=MAX_BYTES)]


@dataclass(slots=True)
class SiteTraffic:
    """What was asked of a project's sites in a few seconds. `sent_bytes` are heads and bodies.

    Of previews, which are mostly looked at by their owner, only the sums are told.
    """

    project_id: Uuid
    is_preview: bool
    requests: Count = 0
    sent_bytes: Count = 0
    # By the first digit of the status: 2xx, 3xx, 4xx, 5xx.
    statuses: dict[Annotated[int, Field(ge=1, le=9)], Count] = field(default_factory=dict)
    top: dict[Kind, Annotated[dict[Name, Count], Field(max_length=MAX_NAMES)]] = field(default_factory=dict)
    visitors: Registers = b""

    def encoded_bytes(self) -> int:
        """Return how much this adds to its batch: at most some 500,000 bytes, if all names are long and escaped."""
        return len(_sites.dump_json(self))


@dataclass(frozen=True, slots=True)
class Batch:
    """What one proxy counted from `began` on."""

    id: Uuid
    began: AwareDatetime
    sites: list[SiteTraffic]

    @property
    def hour(self) -> dt.datetime:
        return self.began.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)

    def without_names(self) -> Batch:
        """Return the same counts and visitors, without what they were of."""
        return replace(self, sites=[replace(site, top={}) for site in self.sites])

    def to_json(self) -> bytes:
        return _batches.dump_json(self)

    @classmethod
    def from_json(cls, data: bytes) -> Batch:
        """Read and check a batch. Raises TrafficInvalid."""
        if len(data) > MAX_BATCH_BYTES:
            raise TrafficInvalid("a batch of counts is larger than any of ours")
        try:
            return _batches.validate_json(data)
        except ValidationError as error:
            raise TrafficInvalid(first_mistake(error)) from None


def limits_to_json(limits: dict[str, Limit]) -> bytes:
    """Return the limited projects, by id, as the store keeps them."""
    return _limits.dump_json(dict(sorted(limits.items())))


def limits_from_json(data: bytes) -> dict[str, Limit]:
    """Read what `limits_to_json` wrote. Raises TrafficInvalid."""
    try:
        return _limits.validate_json(data)
    except ValidationError as error:
        raise TrafficInvalid(first_mistake(error)) from None


_sites = TypeAdapter(SiteTraffic)
_batches = TypeAdapter(Batch)
_limits = TypeAdapter(dict[Uuid, Limit])
