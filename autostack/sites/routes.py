"""Which deployment a host shows. Of a site, routes are the only objects in the store that change.

Each has a generation, taken from PostgreSQL when the switch is decided. A publisher that was held up and comes late
brings a lower one and changes nothing; proxies ignore a lower one, too.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from autostack.errors import Invalid
from autostack.sites import keys
from autostack.sites.errors import StoreUnavailable
from autostack.sites.manifest import Uuid, first_mistake
from autostack.sites.store import Store, Stored

Kind = Literal["production", "branch", "deployment", "pr"]
Host = Annotated[str, StringConstraints(pattern=r"^[a-z0-9.-]{1,253}$")]
# Every failed swap means that another publisher's went through, so this many never fail but for a store without order.
SWAP_ATTEMPTS = 20
# Before a write that was not answered is made again. Reads wait for a store that is away, so these need not.
SWAP_PAUSES_S = (0.1, 0.3, 1.0)


class RouteInvalid(Invalid):
    """A route object that breaks its own rules."""

    code = "ROUTE_INVALID"


BcryptHash = Annotated[str, StringConstraints(pattern=r"^\$2[aby]\$\d\d\$[./A-Za-z0-9]{53}$")]
KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{8,64}$")]


@dataclass(frozen=True, slots=True)
class Protection:
    """The password that visitors must know. `key_id` changes with it, and ends what was opened by an earlier one."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )

    password_hash: BcryptHash
    key_id: KeyId


@dataclass(frozen=True, slots=True)
class Route:
    """Host label (or custom domain) → deployment.

    `former` are deployments that were live here before, newest first. A `removed` one stays as a tombstone, so that a
    late publisher cannot bring the host back. `redirect_to` is the host that every visitor is sent on to.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True
    )

    host: Host
    generation: Annotated[int, Field(ge=0)]
    project_id: Uuid
    deployment_id: Uuid
    kind: Kind = "production"
    protection: Protection | None = None
    redirect_to: Host | None = None
    former: tuple[Uuid, ...] = ()
    removed: bool = False

    @property
    def is_preview(self) -> bool:
        """Tell whether search engines are to look away, and its counts stand apart."""
        return self.kind != "production"

    def to_json(self) -> bytes:
        """Return the route as it is stored."""
        return _adapter.dump_json(self, by_alias=True)

    @classmethod
    def from_json(cls, data: bytes) -> Route:
        """Read and check a route. Raises RouteInvalid."""
        try:
            return _adapter.validate_json(data)
        except ValidationError as error:
            raise RouteInvalid(first_mistake(error)) from None


_adapter = TypeAdapter(Route)


def read_route(store: Store, host: str) -> Route | None:
    """Return the route of a host, None if it never had one. Raises StoreUnavailable, RouteInvalid."""
    stored = store.read_version(keys.route(host))
    return Route.from_json(stored.data) if stored else None


def write_route(store: Store, route: Route) -> bool:
    """Write a route unless the store has a newer one; tell whether this one is there now.

    Safe to repeat. Two different routes of one generation are a mistake of the caller; the first stays.
    """
    key = keys.route(route.host)
    data = route.to_json()
    pauses = iter(SWAP_PAUSES_S)
    for _ in range(SWAP_ATTEMPTS):
        seen = store.read_version(key)
        if seen is not None and not _is_older(seen, route):
            return seen.data == data
        if _swap(store, key, data, seen, pauses):
            return True
    raise StoreUnavailable(f"The route of {route.host} changed {SWAP_ATTEMPTS} times while it was being written.")


def _swap(store: Store, key: str, data: bytes, seen: Stored | None, pauses: Iterator[float]) -> bool:
    """Swap; where it stays open whether that worked, return False after a pause, while there are pauses left."""
    try:
        return store.swap(key, data, seen)
    except StoreUnavailable:
        # No client repeats a conditional write by itself: it may have been done. The next read will tell.
        if (pause := next(pauses, None)) is None:
            raise
        time.sleep(pause)
        return False


def _is_older(seen: Stored, route: Route) -> bool:
    return Route.from_json(seen.data).generation < route.generation
