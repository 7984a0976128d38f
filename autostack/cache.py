"""What Redis remembers of a user for a minute, and forgets once something has changed.

A user has a version in Redis, which a change makes a new one; what is remembered counts only under the version that
was read before it was made. So nobody gets what was made before a change and stored after it. While Redis is away
everything is made anew; a change that it does not hear of shows within the minute.

Calls of the API are counted in Redis anyway, and hear their user's version with the count (`note_version`): what this
process has held since is answered without asking Redis once more.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import TypeVar, cast

from flask import current_app, g
from pydantic import BaseModel
from redis.exceptions import RedisError

from autostack.extensions import redis

# What a process takes from Redis it holds for so long: a minute in all.
HELD_S = 10
LIFETIME_S = 60 - HELD_S
VERSION_LIFETIME_S = 600
# Of a process's memory, 16 MB at most.
MOST_HELD, LONGEST_HELD_BYTES = 256, 64_000

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Held:
    known: bytes
    until: float
    json: bytes


def recall(model: type[Model], owner: uuid.UUID, make: Callable[[], Model], variant: str = "") -> Model:
    """Return what `make` returned for this owner within the last minute if nothing changed since, else what it does.

    `variant` tells apart what one model says of one owner. There must be few: each takes its place for a minute.
    """
    return model.model_validate_json(recall_json(model, owner, make, variant))


def recall_json(model: type[Model], owner: uuid.UUID, make: Callable[[], Model], variant: str = "") -> bytes:
    """Return the same as the JSON that the API answers with: what is remembered is not looked into."""
    name = f"{_prefix(owner)}:{_shape(model)}:{variant}"
    held = _recall_held(owner, name)
    if held is not None:
        return held
    try:
        version, kept = cast(list[bytes | None], redis().mget(version_name(owner), name))
        known = _known(version or _begin(owner))
    except RedisError:
        return _json(make())
    if kept is not None and kept.startswith(known):
        found = kept.removeprefix(known)
    else:
        found = _json(make())
        _keep(name, known + found)
    _hold(name, known, found)
    return found


def note_version(owner: uuid.UUID, version: bytes | None) -> None:
    """Have what this process holds of a user count until this request's end, if it is of the version read just now."""
    g.remembered_version = owner, version


def version_name(owner: uuid.UUID) -> str:
    """Return where in Redis a user's version stands, if there is one."""
    return f"{_prefix(owner)}:version"


def forget(owners: Iterable[uuid.UUID]) -> None:
    """Have nothing count that was remembered of these users. Raises RedisError."""
    g.pop("remembered_version", None)
    with redis().pipeline(transaction=False) as pipe:
        for owner in owners:
            # Not a count: one that ended would begin anew, and meet what was remembered under the same number.
            pipe.set(version_name(owner), uuid.uuid4().hex, ex=VERSION_LIFETIME_S)
        pipe.execute()


def _json(made: BaseModel) -> bytes:
    return made.model_dump_json(by_alias=True).encode()


@cache
def _shape(model: type[BaseModel]) -> str:
    """Return a name of the model that changes with its fields: another release of ours may remember others."""
    fields = json.dumps(model.model_json_schema(mode="serialization"), sort_keys=True)
    return f"{model.__name__}:{hashlib.sha256(fields.encode()).hexdigest()[:12]}"


def _keep(name: str, value: bytes) -> None:
    try:
        redis().set(name, value, ex=LIFETIME_S)
    except RedisError:
        return


def _recall_held(owner: uuid.UUID, name: str) -> bytes | None:
    of, version = g.get("remembered_version", (None, None))
    if of != owner or version is None:
        return None
    held = _all_held().get(name)
    return held.json if held and held.known == _known(version) and time.monotonic() < held.until else None


def _hold(name: str, known: bytes, json: bytes) -> None:
    if len(json) <= LONGEST_HELD_BYTES:
        everything = _all_held()
        if len(everything) >= MOST_HELD:
            everything.clear()
        everything[name] = _Held(known, time.monotonic() + HELD_S, json)


def _all_held() -> dict[str, _Held]:
    return cast(dict[str, _Held], current_app.extensions.setdefault("autostack_held", {}))


def _begin(owner: uuid.UUID) -> bytes:
    """Return a first version. A change that came in between has made another, and this one never counts."""
    version = uuid.uuid4().hex
    redis().set(version_name(owner), version, ex=VERSION_LIFETIME_S, nx=True)
    return version.encode()


def _known(version: bytes) -> bytes:
    return version + b" "


def _prefix(owner: uuid.UUID) -> str:
    return f"autostack:remembered:{owner}"
