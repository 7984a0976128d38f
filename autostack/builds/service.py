"""Build attempts: opening them, what their agents may learn and say, and how they end."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import exists, func, select, update

from autostack.builds import dispatch
from autostack.builds.caches import Scope
from autostack.builds.models import BuildAttempt, Outcome
from autostack.builds.own_services import own_services
from autostack.deployments import events, lifecycle, logs
from autostack.deployments.logs import Line
from autostack.deployments.models import Deployment
from autostack.deployments.status import LogLevel, Status
from autostack.ecs_settings import TaskSize
from autostack.encryption import Cipher
from autostack.errors import Conflict, Unauthorized
from autostack.extensions import db, rowcount, settings
from autostack.github import service as github
from autostack.projects import repository as repositories
from autostack.queue import CONTROL, enqueue
from autostack.settings import MB, Settings
from autostack.sites.manifest import Fallback

log = structlog.stdlib.get_logger(__name__)

PUBLISH = "autostack.deployments.jobs.publish"
MAX_LINE_BYTES = 10_000
# The agent counts what programs print, and says itself that the rest is left out; its own words have this beside it.
OWN_WORDS_BYTES = MB
# How long after its end a build that went well may save its caches.
CACHE_GRACE_S = 900
# However often ECS had no place for a build, it is asked again after this long.
LONGEST_PAUSE_S = 600
# What a build's agent and the machine's system take of a task's memory; they and the image, packed and unpacked, of
# its disk.
AGENT_MIB, MIB = 512, 2**20
IMAGE_GIB, GIB = 5, 2**30
TAKEN_TWICE = "The build's order was asked for by another than its agent"


class AttemptEnded(Conflict):
    code = "ATTEMPT_ENDED"


@dataclass(frozen=True)
class OpenedAttempt:
    """What an executor gives its agent."""

    id: uuid.UUID
    bootstrap_token: str


def open_attempt(deployment_id: uuid.UUID, executor: str, id: uuid.UUID | None = None) -> OpenedAttempt | None:
    """Claim a queued deployment for building. None if another worker has it, or it is queued no more.

    The attempt's id may be given. One that was used is not opened again: its job was run twice.
    """
    id, token = id or uuid.uuid4(), secrets.token_urlsafe(32)
    claim = (
        update(Deployment)
        .where(Deployment.id == deployment_id, Deployment.status == Status.QUEUED, Deployment.attempt_id.is_(None))
        .where(~exists().where(BuildAttempt.id == id))
        .values(attempt_id=id)
    )
    if not rowcount(db.session.execute(claim)):
        db.session.rollback()
        return None
    note_opened(id, deployment_id, attempts_of(deployment_id) + 1, executor, token)
    db.session.commit()
    return OpenedAttempt(id, token)


def note_opened(
    id: uuid.UUID, deployment_id: uuid.UUID, number: int, executor: str, token: str, size: TaskSize | None = None
) -> None:
    """Add the attempt by which a deployment was claimed; `size` is that of a machine of its own. The caller commits."""
    attempt = BuildAttempt(id=id, deployment_id=deployment_id, number=number, executor=executor)
    attempt.bootstrap_token_hash = _hash(token)
    if size is not None:
        attempt.memory_mib, attempt.disk_gib = size.memory_mib, size.disk_gib
    db.session.add(attempt)
    events.note("attempt opened", deployment_id=str(deployment_id), attempt_id=str(id), number=number)


def attempts_of(deployment_id: uuid.UUID) -> int:
    """Return how many attempts a deployment has had."""
    counted = select(func.count()).select_from(BuildAttempt).where(BuildAttempt.deployment_id == deployment_id)
    return db.session.scalar(counted) or 0


def take_order(attempt_id: uuid.UUID, bootstrap_token: str, nonce: str | None) -> dict[str, Any]:
    """Return the order for an attempt, with its working token; the deployment is building from now on.

    The bootstrap token is good once. A lost answer can be asked for again with the same nonce, until the working token
    is used; without one it cannot. Somebody else who asks has the token, or was first: nobody builds on with it.
    Raises Unauthorized, AttemptEnded.
    """
    attempt = _locked(attempt_id)
    if attempt is None or not _matches(bootstrap_token, attempt.bootstrap_token_hash):
        raise Unauthorized("The token is not this attempt's.")
    deployment = _current(attempt)
    if attempt.token_hash is not None and not _asks_again(attempt, nonce):
        log.warning("an order was asked for twice", attempt_id=str(attempt_id))
        lose(attempt_id, TAKEN_TWICE)
        raise AttemptEnded("The order was fetched already, and not by you.")
    if attempt.heartbeats:
        raise AttemptEnded("The order was fetched already.")
    lifecycle.move(deployment.id, Status.BUILDING, attempt_id=attempt.id)
    token = secrets.token_urlsafe(32)
    attempt.token_hash, attempt.nonce_hash = _hash(token), _hash(nonce) if nonce else None
    db.session.commit()
    return {"token": token, **_order(attempt, deployment, settings())}


def check_speaker(attempt_id: uuid.UUID, token: str) -> None:
    """Check, without a lock, that the token is the attempt's. Raises Unauthorized."""
    _verified(db.session.get(BuildAttempt, attempt_id), token)


def speaking(attempt_id: uuid.UUID, token: str) -> BuildAttempt:
    """Return the attempt that its agent speaks for, its row locked; that it speaks is its heartbeat.

    Raises Unauthorized, AttemptEnded once the attempt is not its deployment's current one.
    """
    attempt = _verified(_locked(attempt_id), token)
    _current(attempt)
    attempt.heartbeats += 1
    return attempt


def caches_of(attempt_id: uuid.UUID, token: str, *, writing: bool) -> Scope:
    """Return whose caches an agent may use; it may save them for a while after a good end.

    Raises Unauthorized, AttemptEnded.
    """
    attempt = _verified(db.session.get(BuildAttempt, attempt_id), token)
    if not (writing and _ended_well_lately(attempt)):
        _current(attempt)
    return scope_of(attempt)


def scope_of(attempt: BuildAttempt) -> Scope:
    """Return whose earlier work an attempt may build upon: its project's, its branch's and production's."""
    deployment = attempt.deployment
    return Scope(deployment.project_id, deployment.branch, deployment.project.branch)


def fallback_of(attempt: BuildAttempt) -> Fallback:
    """Return what a page that is not there gets, as the project said when the deployment was asked for."""
    # A deployment that was asked for before projects could say so has none.
    fallback: Fallback = attempt.deployment.snapshot.get("fallback", "auto")
    return fallback


def store_lines(attempt: BuildAttempt, batch: int, lines: list[Line]) -> None:
    """Store a numbered batch; one that was stored before changes nothing. Commits."""
    if batch == attempt.last_batch + 1:
        attempt.last_batch = batch
        logs.append(attempt.deployment_id, logs.within(lines, _log_bytes_left(attempt.deployment, OWN_WORDS_BYTES)))
    elif batch > attempt.last_batch:
        db.session.rollback()
        raise Conflict(f"Batch {attempt.last_batch + 1} comes next.")
    db.session.commit()


def record_source(attempt: BuildAttempt, source: Mapping[str, str | None], detected: Mapping[str, Any]) -> None:
    """Store what was cloned and detected. Commits."""
    deployment = attempt.deployment
    for column, value in source.items():
        if value:
            setattr(deployment, column, value)
    deployment.detected = dict(detected)
    events.outdated(deployment.user_id)
    db.session.commit()


def finish(attempt_id: uuid.UUID, token: str, outcome: Outcome, reason: str | None) -> None:
    """End an attempt as its agent says: a built one is published next. Commits.

    The same end told again changes nothing: the answer to the first was lost. Raises Unauthorized, AttemptEnded.
    """
    attempt = _verified(_locked(attempt_id), token)
    if attempt.outcome == outcome:
        db.session.rollback()
        return
    _current(attempt)
    _end(attempt, outcome, reason)
    if outcome is Outcome.FAILED:
        fail(attempt.deployment, reason or "The build failed", attempt.id)
    db.session.commit()
    if outcome is Outcome.BUILT:
        enqueue(CONTROL, PUBLISH, str(attempt.deployment_id))
    dispatch.tell_of_room()


def lose(attempt_id: uuid.UUID, reason: str, *, again: bool = True, heartbeats: int | None = None) -> None:
    """End an attempt whose agent is gone: the deployment is queued again, or fails when it was tried often enough.

    `again` False fails it at once. `heartbeats` is how many the agent had when it was found silent. Nothing happens if
    the attempt has ended, or its agent was heard since. Commits.
    """
    attempt = _locked(attempt_id)
    was_heard = attempt is not None and heartbeats is not None and attempt.heartbeats != heartbeats
    if attempt is None or was_heard or attempt.ended_at is not None:
        db.session.rollback()
        return
    deployment = attempt.deployment
    _end(attempt, Outcome.LOST, reason)
    is_current = deployment.attempt_id == attempt.id and not deployment.state.is_final
    if is_current and again and attempt.number < settings().build_attempts:
        _requeue(deployment, attempt.id, reason)
    elif is_current:
        fail(deployment, reason, attempt.id)
    db.session.commit()
    dispatch.tell_of_room()


def withdraw(attempt_id: uuid.UUID, reason: str, *, pause_s: int = 0, most: int | None = None) -> None:
    """Take back an attempt that never began: its deployment waits on, and says for what.

    It is not tried again for `pause_s`, doubled with each refusal. With `most`, so many refusals fail it. Nothing
    happens if the attempt has begun or ended, or has a task that is not known to be over. Commits.
    """
    attempt = _locked(attempt_id)
    has_task = attempt is not None and attempt.task is not None and not attempt.task_over
    if attempt is None or has_task or attempt.ended_at is not None or attempt.token_hash is not None:
        db.session.rollback()
        return
    deployment = attempt.deployment
    deployment.refusals += most is not None
    if most is not None and deployment.refusals >= most:
        _end(attempt, Outcome.LOST, reason)
        fail(deployment, reason, attempt.id)
    elif deployment.state is Status.QUEUED:
        db.session.delete(attempt)
        deployment.attempt_id, deployment.reason = None, reason
        held_s = min(pause_s * 2 ** max(0, deployment.refusals - 1), LONGEST_PAUSE_S)
        deployment.held_until = datetime.now(UTC) + timedelta(seconds=held_s)
        events.changed(deployment.id)
        events.outdated(deployment.user_id)
        events.note("attempt withdrawn", deployment_id=str(deployment.id), attempt_id=str(attempt_id), reason=reason)
    db.session.commit()


def fail(deployment: Deployment, reason: str, attempt_id: uuid.UUID | None = None) -> bool:
    """End a deployment as failed, saying why in its log too. The caller commits."""
    moved = lifecycle.move(deployment.id, Status.FAILED, attempt_id=attempt_id, reason=reason)
    if moved:
        logs.say(deployment, reason, LogLevel.ERROR)
    return moved


def _requeue(deployment: Deployment, attempt_id: uuid.UUID, reason: str) -> None:
    """Free the deployment for another attempt, and tell the queue, unless it was ended meanwhile. Commits."""
    if not _freed(deployment, attempt_id, reason):
        return
    logs.say(deployment, f"{reason}. Building again…", LogLevel.WARNING)
    # The sweep would, too, but only when its turn comes.
    db.session.commit()
    dispatch.enqueue_build(deployment.id)


def _freed(deployment: Deployment, attempt_id: uuid.UUID, reason: str) -> bool:
    if lifecycle.move(deployment.id, Status.QUEUED, attempt_id=attempt_id, reason=reason):
        return True
    still_queued = update(Deployment).where(
        Deployment.id == deployment.id, Deployment.attempt_id == attempt_id, Deployment.status == Status.QUEUED
    )
    return bool(rowcount(db.session.execute(still_queued.values(attempt_id=None))))


def _asks_again(attempt: BuildAttempt, nonce: str | None) -> bool:
    return nonce is not None and attempt.nonce_hash is not None and _matches(nonce, attempt.nonce_hash)


def _verified(attempt: BuildAttempt | None, token: str) -> BuildAttempt:
    if attempt is None or attempt.token_hash is None or not _matches(token, attempt.token_hash):
        raise Unauthorized("The token is not this attempt's.")
    return attempt


def _end(attempt: BuildAttempt, outcome: Outcome, reason: str | None) -> None:
    attempt.outcome, attempt.reason, attempt.ended_at = outcome, reason, datetime.now(UTC)
    ids = {"deployment_id": str(attempt.deployment_id), "attempt_id": str(attempt.id)}
    events.note("attempt ended", **ids, outcome=outcome.value, reason=reason)


def _current(attempt: BuildAttempt) -> Deployment:
    deployment = attempt.deployment
    if attempt.ended_at is not None or deployment.attempt_id != attempt.id or deployment.state.is_final:
        db.session.rollback()
        raise AttemptEnded("The attempt is not its deployment's current one any more.")
    return deployment


def _ended_well_lately(attempt: BuildAttempt) -> bool:
    if attempt.outcome != Outcome.BUILT or attempt.ended_at is None:
        return False
    return (datetime.now(UTC) - attempt.ended_at).total_seconds() < CACHE_GRACE_S


def _locked(attempt_id: uuid.UUID) -> BuildAttempt | None:
    """Lock an attempt, and before it its deployment: everybody takes locks in this order."""
    deployment_id = db.session.scalar(select(BuildAttempt.deployment_id).where(BuildAttempt.id == attempt_id))
    if deployment_id is None or lifecycle.locked(deployment_id) is None:
        return None
    found: BuildAttempt | None = db.session.scalar(
        select(BuildAttempt)
        .where(BuildAttempt.id == attempt_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    return found


def _log_bytes_left(deployment: Deployment, more: int = 0) -> int:
    return max(0, settings().max_log_size_mb * MB + more - deployment.log_bytes)


def _order(attempt: BuildAttempt, deployment: Deployment, config: Settings) -> dict[str, Any]:
    snapshot = deployment.snapshot
    started_at = deployment.started_at or datetime.now(UTC)
    names = ("rootDir", "installCommand", "buildCommand", "outputDir", "nodeVersion")
    return {
        "attemptId": str(attempt.id),
        "deploymentId": str(deployment.id),
        "projectId": str(deployment.project_id),
        "repository": {
            "url": snapshot["repository"],
            "branch": snapshot.get("branch"),
            "commit": snapshot.get("commit"),
            "credential": _credential(deployment),
            "hostsAllowed": sorted(config.repo_hosts_allowed),
            "localPath": repositories.local_path(config),
        },
        "settings": {name: snapshot.get(name) for name in names},
        "env": Cipher.of(config).decrypt_mapping(deployment.env_vars),
        "egressAllowed": sorted(config.egress_allowed),
        "egressPorts": sorted(config.egress_ports),
        "egressRefused": own_services(config),
        "limits": {**_limits(config, attempt), "maxLogBytes": _log_bytes_left(deployment)},
        "heartbeatIntervalMs": config.heartbeat_interval_s * 1000,
        "elapsedMs": max(0, int((datetime.now(UTC) - started_at).total_seconds() * 1000)),
    }


def _credential(deployment: Deployment) -> dict[str, str] | None:
    """Return what the clone may say, where its server is the one that the deployment's owner is connected with."""
    found = github.clone_credential(deployment.user_id, deployment.snapshot["repository"])
    return {"username": found.username, "password": found.password} if found else None


def _limits(config: Settings, attempt: BuildAttempt) -> dict[str, int]:
    machine_mib, machine_gib = attempt.memory_mib, attempt.disk_gib
    return {
        "timeoutMs": config.build_timeout_ms,
        "maxBuildBytes": config.max_build_bytes,
        "maxFiles": config.max_build_files,
        "maxFileBytes": config.max_file_size_mb * MB,
        "maxLineBytes": MAX_LINE_BYTES,
        "maxProcesses": config.max_build_processes,
        "maxMemoryBytes": _memory_left(machine_mib) if machine_mib else config.max_build_memory_mb * MB,
        "maxDiskBytes": (machine_gib - IMAGE_GIB) * GIB if machine_gib else config.max_build_disk_mb * MB,
        "maxCacheBytes": config.max_cache_size_mb * MB,
        "maxMirrorsBytes": config.max_mirrors_size_mb * MB,
    }


def _memory_left(machine_mib: int) -> int:
    """Return the bytes that a machine of its own has for a build beside the agent."""
    return max(machine_mib - AGENT_MIB, machine_mib // 2) * MIB


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _matches(token: str, stored: str) -> bool:
    return hmac.compare_digest(_hash(token), stored)
