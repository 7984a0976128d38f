"""Telling CloudFront, in front of the sites, what to forget once a host shows another deployment.

A host's row says up to which generation, and of which deployment, CloudFront was told. Where that is behind, a job
tells it, and the sweep has that repeated until CloudFront has taken it. What was switched meanwhile is told together.
After a refusal nothing is told for a while, of any host: CloudFront limits the invalidations of a distribution.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import botocore.exceptions
import structlog
from botocore.config import Config
from sqlalchemy import Exists, Select, exists, func, select, text, update

from autostack.errors import Unavailable
from autostack.extensions import db, settings, store
from autostack.projects.models import SiteHost
from autostack.queue import CONTROL, enqueue_once
from autostack.settings import Settings
from autostack.sites import keys
from autostack.sites.cdn import EVERYTHING, limited, outdated
from autostack.sites.errors import ObjectNotFound
from autostack.sites.manifest import Manifest, ManifestInvalid

log = structlog.stdlib.get_logger(__name__)

JOB = "autostack.deployments.jobs.invalidate_cdn"
HOSTS_AT_ONCE = 200
# CloudFront takes 3000.
PATHS_AT_ONCE = 1_000
# Those that the proxy lets a CDN keep answers of.
KINDS = ("production", "branch", "domain")
# CloudFront away must not keep a worker from publishing: one attempt, which the sweep has repeated.
TIMEOUT_S = 5
# Nothing is told after a refusal; twice as long after each further one.
FIRST_PAUSE_S = 30
LONGEST_PAUSE_S = 3_600


class CdnUnavailable(Unavailable):
    """CloudFront did not take an invalidation."""

    code = "CDN_UNAVAILABLE"


@dataclass(frozen=True)
class _Switch:
    """A host, the deployment of which CloudFront was told last, and the one that the host shows now."""

    label: str
    generation: int
    project_id: uuid.UUID | None
    told_of: uuid.UUID | None
    shown: uuid.UUID | None


def tell_queue() -> None:
    """Have a worker tell CloudFront, where there is one, it is behind, and it has refused nothing just now."""
    if settings().cloudfront_distribution_id and db.session.scalar(select(exists(_behind()) & ~_is_held())):
        enqueue_once(CONTROL, JOB)


def invalidate() -> None:
    """Have CloudFront forget what changed on hosts that it was not told of. May run twice. Raises CdnUnavailable."""
    while switches := _next():
        paths = _outdated_of(switches)
        for start in range(0, len(paths), PATHS_AT_ONCE):
            part = paths[start : start + PATHS_AT_ONCE]
            try:
                _create_invalidation(settings(), invalidation(part, _reference(switches, part)))
            except CdnUnavailable:
                _hold(switches)
                raise
            log.info("CDN told what to forget", hosts=len(switches), paths=len(part))
        _note_told(switches)


def _next() -> list[_Switch]:
    rows = db.session.execute(_behind().where(~_is_held()).order_by(SiteHost.label).limit(HOSTS_AT_ONCE))
    switches = [_Switch(*row) for row in rows]
    # No connection of the pool waits with us for the store and CloudFront.
    db.session.rollback()
    return switches


def invalidation(paths: Sequence[str], reference: str) -> dict[str, Any]:
    """Return what CloudFront is asked. The same `reference` twice is the same invalidation."""
    return {"Paths": {"Quantity": len(paths), "Items": list(paths)}, "CallerReference": reference}


def _behind() -> Select[str, int, uuid.UUID | None, uuid.UUID | None, uuid.UUID | None]:
    columns = select(
        SiteHost.label, SiteHost.generation, SiteHost.project_id, SiteHost.cdn_deployment_id, SiteHost.deployment_id
    )
    # Only what every visitor gets already: CloudFront would fetch the old answer again.
    published = columns.where(SiteHost.published_generation == SiteHost.generation, SiteHost.kind.in_(KINDS))
    return published.where(SiteHost.cdn_generation < SiteHost.generation)


def _is_held() -> Exists:
    longest = text(f"interval '{LONGEST_PAUSE_S} seconds'")
    # A clock that was set back holds nothing for ever.
    return exists().where(SiteHost.cdn_held_until > func.now(), SiteHost.cdn_held_until <= func.now() + longest)


def _hold(switches: Sequence[_Switch]) -> None:
    """Have CloudFront left alone for a while."""
    refused = SiteHost.label.in_([switch.label for switch in switches])
    refusals = (db.session.scalar(select(func.max(SiteHost.cdn_refusals)).where(refused)) or 0) + 1
    pause = timedelta(seconds=min(FIRST_PAUSE_S * 2 ** min(refusals - 1, 16), LONGEST_PAUSE_S))
    held = {"cdn_refusals": refusals, "cdn_held_until": func.now() + pause}
    db.session.execute(update(SiteHost).where(refused).values(held))
    db.session.commit()


def _outdated_of(switches: Sequence[_Switch]) -> list[str]:
    """Return the paths to forget. Each host has the limit for itself: many small changes are no large one."""
    most = settings().cdn_max_paths
    paths = {path for switch in switches for path in limited(_changed(switch), most)}
    return limited(paths, len(paths))


def _changed(switch: _Switch) -> set[str]:
    """Return the paths that changed, EVERYTHING where that cannot be told any more."""
    if switch.told_of is None:
        # It showed nothing, and that is kept by nobody.
        return set()
    if switch.shown is None or switch.shown == switch.told_of:
        # Nothing is there any more, or the same in another way: behind a password, or elsewhere.
        return {EVERYTHING}
    try:
        return outdated(_manifest(switch.project_id, switch.told_of), _manifest(switch.project_id, switch.shown))
    except (ObjectNotFound, ManifestInvalid):
        return {EVERYTHING}


def _manifest(project_id: uuid.UUID | None, deployment_id: uuid.UUID) -> Manifest:
    return Manifest.from_json(store().get(keys.manifest(str(project_id), str(deployment_id))))


def _reference(switches: Sequence[_Switch], paths: Sequence[str]) -> str:
    told = "\n".join([*(f"{switch.label} {switch.generation}" for switch in switches), *paths])
    return hashlib.sha256(told.encode()).hexdigest()


def _note_told(switches: Sequence[_Switch]) -> None:
    for switch in switches:
        told = {
            "cdn_generation": switch.generation,
            "cdn_deployment_id": switch.shown,
            "cdn_refusals": 0,
            "cdn_held_until": None,
        }
        db.session.execute(update(SiteHost).where(SiteHost.label == switch.label).values(told))
    db.session.commit()


def _create_invalidation(settings: Settings, asked: dict[str, Any]) -> None:
    # Loading it takes a good part of a second, which nobody without a CDN needs to spend.
    import boto3

    secret = settings.aws_secret_access_key
    client = boto3.client(
        "cloudfront",
        region_name=settings.s3_region,
        aws_access_key_id=settings.aws_access_key_id,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        config=Config(connect_timeout=TIMEOUT_S, read_timeout=TIMEOUT_S, retries={"total_max_attempts": 1}),
    )
    try:
        client.create_invalidation(DistributionId=settings.cloudfront_distribution_id, InvalidationBatch=asked)
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise CdnUnavailable(f"CloudFront did not take an invalidation: {error}") from error
