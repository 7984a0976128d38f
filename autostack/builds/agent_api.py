"""What build agents call; see docs/agent-api.md."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

from flask import Blueprint, Response, jsonify, make_response, request
from werkzeug.http import quote_etag

from autostack.agent.api import NONCE_HEADER
from autostack.builds import artifacts, caches, service
from autostack.builds.artifacts import Wanted
from autostack.builds.models import BuildAttempt
from autostack.builds.schemas import BatchIn, BlobsIn, FilesIn, FinishIn, SourceIn
from autostack.errors import Invalid, Unauthorized
from autostack.extensions import csrf, db, settings, store
from autostack.settings import MB
from autostack.sites.rules.compile import compile_rules
from autostack.web.access import by_agent_token
from autostack.web.schemas import Model, read_json

api = Blueprint("agent_api", __name__, url_prefix="/agent/attempts/<uuid:id>")
csrf.exempt(api)

CACHE_KEY = re.compile(r"[a-z0-9-]{1,100}")
SHA256 = re.compile(r"[0-9a-f]{64}")
NONCE = re.compile(r"[A-Za-z0-9_-]{32,200}")
STREAM_BYTES = 256 * 1024
# 20,000 files with long paths and three variants each.
MAX_LISTING_BYTES = 128_000_000
MAX_STREAM_BYTES = 2**40
# An agent's batch has a million characters and a line at most: as JSON, up to twelve bytes each.
MAX_BATCH_BYTES = 16_000_000


@api.get("")
@by_agent_token
def order(id: uuid.UUID) -> Response:
    return jsonify(service.take_order(id, _token(), _nonce()))


@api.post("/logs")
@by_agent_token
def add_lines(id: uuid.UUID) -> Response:
    request.max_content_length = MAX_BATCH_BYTES
    attempt, given = _hear(id, BatchIn)
    service.store_lines(attempt, given.batch, [line.line() for line in given.lines])
    return jsonify({"continue": True})


@api.post("/source")
@by_agent_token
def tell_source(id: uuid.UUID) -> Response:
    attempt, given = _hear(id, SourceIn)
    service.record_source(attempt, given.source(), given.detected())
    return make_response("", 204)


@api.post("/files")
@by_agent_token
def list_files(id: uuid.UUID) -> Response:
    request.max_content_length = MAX_LISTING_BYTES
    attempt, given = _hear(id, FilesIn)
    scope, deployment_id, fallback = service.scope_of(attempt), attempt.deployment_id, service.fallback_of(attempt)
    # No connection of the pool, and no lock, waits for the store.
    db.session.commit()
    compiled = compile_rules(given.rules.sources(), settings().country_header)
    wanted = artifacts.propose(scope, deployment_id, id, given.files, compiled.rules, fallback)
    return jsonify(uploads=[_upload(id, blob) for blob in wanted], notes=compiled.notes)


@api.get("/previous")
@by_agent_token
def read_previous(id: uuid.UUID) -> Response:
    scope = service.caches_of(id, _token(), writing=False)
    return Response(artifacts.previous(scope), mimetype="application/json")


@api.post("/blobs")
@by_agent_token
def invite_blobs(id: uuid.UUID) -> Response:
    attempt, given = _hear(id, BlobsIn)
    project_id = attempt.deployment.project_id
    # What comes by way of web is counted as it comes.
    artifacts.count_sent(attempt, sum(blob.size for blob in given.blobs) if store().can_sign else 0)
    return jsonify(uploads=[_upload(id, blob) for blob in artifacts.invite(project_id, given.blobs)])


@api.put("/blobs/<sha256>")
@by_agent_token
def put_blob(id: uuid.UUID, sha256: str) -> Response:
    if not SHA256.fullmatch(sha256):
        raise Invalid.field("sha256", "must be 64 lower-case hex digits")
    attempt = service.speaking(id, _token())
    project_id = attempt.deployment.project_id
    # Commits: no connection of the pool, and no lock, waits for the upload.
    artifacts.count_sent(attempt, request.content_length or settings().max_file_size_mb * MB)
    artifacts.receive(project_id, sha256, _body())
    return make_response("", 204)


@api.get("/cache")
@by_agent_token
def guess_cache(id: uuid.UUID) -> Response:
    scope = service.caches_of(id, _token(), writing=False)
    db.session.commit()
    return jsonify(likely=caches.likely(scope))


@api.get("/cache/<key>")
@by_agent_token
def read_cache(id: uuid.UUID, key: str) -> Response:
    scope = service.caches_of(id, _token(), writing=False)
    db.session.commit()
    cache = caches.find(scope, _cache_key(key))
    if request.if_none_match.contains(cache.tag):
        return Response(status=304, headers={"ETag": quote_etag(cache.tag)})
    return Response(cache.read(), mimetype="application/zstd", headers={"ETag": quote_etag(cache.tag)})


@api.put("/cache/<key>")
@by_agent_token
def write_cache(id: uuid.UUID, key: str) -> Response:
    scope = service.caches_of(id, _token(), writing=True)
    # As above: saving a cache takes as long as a build.
    db.session.commit()
    tag = caches.write(scope, _cache_key(key), _body())
    response = make_response("", 204)
    if tag:
        response.set_etag(tag)
    return response


@api.post("/finish")
@by_agent_token
def finish(id: uuid.UUID) -> Response:
    given = _read(id, FinishIn)
    service.finish(id, _token(), given.outcome, given.reason)
    return make_response("", 204)


def _hear(id: uuid.UUID, model: type[Model]) -> tuple[BuildAttempt, Model]:
    """Return the attempt that its agent speaks for, locked, and what it says."""
    given = _read(id, model)
    return service.speaking(id, _token()), given


def _read(id: uuid.UUID, model: type[Model]) -> Model:
    """Return what an agent says, once its token was checked."""
    service.check_speaker(id, _token())
    # A connection that stalls halfway through its body must hold neither a lock nor a connection of the pool.
    db.session.commit()
    return read_json(model)


def _token() -> str:
    given = request.authorization
    if given is None or given.type != "bearer" or not given.token:
        raise Unauthorized("An agent says its attempt's token.")
    return given.token


def _nonce() -> str | None:
    """Return what tells this agent from others that have its token; None from an image older than this."""
    nonce = request.headers.get(NONCE_HEADER)
    if nonce is not None and not NONCE.fullmatch(nonce):
        raise Invalid.field(NONCE_HEADER, "must be 32 to 200 of A-Z, a-z, 0-9, _ and -")
    return nonce


def _upload(id: uuid.UUID, wanted: Wanted) -> dict[str, object]:
    if wanted.signed is not None:
        return {"sha256": wanted.sha256, "url": wanted.signed.url, "headers": wanted.signed.headers}
    url = f"{settings().agents_reach_web_at}/agent/attempts/{id}/blobs/{wanted.sha256}"
    return {"sha256": wanted.sha256, "url": url, "headers": {}}


def _cache_key(key: str) -> str:
    if not CACHE_KEY.fullmatch(key):
        raise Invalid.field("key", "must be 1 to 100 of a-z, 0-9 and -")
    return key


def _body() -> Iterator[bytes]:
    # The receiver counts: a stream may be larger than requests are in general. None would mean their limit.
    request.max_content_length = MAX_STREAM_BYTES
    while chunk := request.stream.read(STREAM_BYTES):
        yield chunk
