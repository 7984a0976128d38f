"""Requests for a deployment that a client may repeat, should it not have heard the answer: `Idempotency-Key`.

A key is claimed before anything is done, and tied to the deployment in the transaction that makes it. So whatever dies
when, the same key never makes a second one (draft-ietf-httpapi-idempotency-key-header-06).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from autostack.accounts.models import User
from autostack.deployments.models import Deployment, IdempotencyKey
from autostack.errors import Conflict, Invalid
from autostack.extensions import db, rowcount, settings

KEPT = timedelta(hours=24)
# Longer than any request takes: whoever claimed a key that long ago, and made nothing, is dead.
ABANDONED = timedelta(minutes=5)

Answer = dict[str, Any]


class KeyInUse(Conflict):
    code = "IDEMPOTENCY_KEY_IN_USE"


class KeyReused(Invalid):
    code = "IDEMPOTENCY_KEY_REUSED"


def once(
    user: User, key: str, body: str, make: Callable[[uuid.UUID], Deployment], show: Callable[[Deployment], Answer]
) -> Answer:
    """Return what `show` says of the deployment that `make` makes, or made when this key first came.

    `make` is given the claim, to be tied to its deployment by `bind`. What it raises frees the key again. Raises
    KeyInUse while the first request is under way, KeyReused for a key that came with another body.
    """
    user_id, fingerprint = user.id, _fingerprint(body)
    claim = _claim(user_id, key, fingerprint)
    if claim is None:
        return _answer_again(user_id, key, fingerprint, show)
    try:
        return _keep(claim, show(make(claim)))
    except BaseException:
        _release(claim)
        raise


def is_known(user_id: uuid.UUID, key: str) -> bool:
    """Tell whether a user's key came before, so that this request makes nothing."""
    kept = (
        IdempotencyKey.user_id == user_id,
        IdempotencyKey.key == key,
        IdempotencyKey.created_at > datetime.now(UTC) - KEPT,
    )
    return db.session.scalar(select(IdempotencyKey.id).where(*kept)) is not None


def bind(claim: uuid.UUID, deployment: Deployment) -> None:
    """Tie a claim to the deployment that is being made, in its transaction. Raises KeyInUse if another request did."""
    db.session.flush()
    mine = update(IdempotencyKey).where(IdempotencyKey.id == claim, IdempotencyKey.deployment_id.is_(None))
    if not rowcount(db.session.execute(mine.values(deployment_id=deployment.id))):
        db.session.rollback()
        _in_use()


def forget_old_keys() -> None:
    """Delete the keys that are no longer answered again."""
    db.session.execute(delete(IdempotencyKey).where(IdempotencyKey.created_at < datetime.now(UTC) - KEPT))
    db.session.commit()


def _claim(user_id: uuid.UUID, key: str, fingerprint: str) -> uuid.UUID | None:
    now = datetime.now(UTC)
    mine = (IdempotencyKey.user_id == user_id) & (IdempotencyKey.key == key)
    abandoned = IdempotencyKey.deployment_id.is_(None) & IdempotencyKey.answer.is_(None)
    ended = (IdempotencyKey.created_at < now - KEPT) | (abandoned & (IdempotencyKey.created_at < now - ABANDONED))
    db.session.execute(delete(IdempotencyKey).where(mine, ended))
    row = {"user_id": user_id, "key": key, "fingerprint": fingerprint, "created_at": now}
    claimed = insert(IdempotencyKey).values(row).on_conflict_do_nothing().returning(IdempotencyKey.id)
    claim: uuid.UUID | None = db.session.scalar(claimed)
    db.session.commit()
    return claim


def _answer_again(user_id: uuid.UUID, key: str, fingerprint: str, show: Callable[[Deployment], Answer]) -> Answer:
    mine = select(IdempotencyKey).where(IdempotencyKey.user_id == user_id, IdempotencyKey.key == key)
    found = db.session.scalar(mine)
    if found is None:
        # The first request failed just now: the next one may try.
        _in_use()
    if found.fingerprint != fingerprint:
        raise KeyReused("This Idempotency-Key came with another request before.", {"Idempotency-Key": "was used"})
    if found.answer is not None:
        return found.answer
    deployment = db.session.get(Deployment, found.deployment_id) if found.deployment_id else None
    if deployment is None:
        _in_use()
    # Its maker died, or is just about to answer.
    return show(deployment)


def _keep(claim: uuid.UUID, answer: Answer) -> Answer:
    db.session.execute(update(IdempotencyKey).where(IdempotencyKey.id == claim).values(answer=answer))
    db.session.commit()
    return answer


def _release(claim: uuid.UUID) -> None:
    # Should the database be away, the claim is abandoned after a while.
    with contextlib.suppress(SQLAlchemyError):
        db.session.rollback()
        unused = (IdempotencyKey.id == claim) & IdempotencyKey.deployment_id.is_(None)
        db.session.execute(delete(IdempotencyKey).where(unused))
        db.session.commit()


def _fingerprint(body: str) -> str:
    # Keyed: a body may hold secrets, which a plain hash would let be guessed.
    return hmac.new(settings().secret("secret_key").encode(), body.encode(), hashlib.sha256).hexdigest()


def _in_use() -> NoReturn:
    raise KeyInUse("A request with this Idempotency-Key is under way. Try again in a moment.")
