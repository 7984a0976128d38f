"""A web that speaks docs/agent-api.md strictly, for the agent's tests: a real HTTP server on a free port.

It checks tokens, the order of batches, and every blob against its name; what breaks the protocol is put in
`violations`. `faults` makes it answer wrongly on demand.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ATTEMPT = "0b0e7a52-8a3b-4a7c-9d4e-3f0c1f1f7a11"
BOOTSTRAP_TOKEN = "bootstrap-token-for-tests"
WORKING_TOKEN = "working-token-for-tests"
SHA256 = re.compile(r"[0-9a-f]{64}")
CACHE_KEY = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")
CONTROL = re.compile(r"[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[0-9;:]*m)")
MAX_BATCH_LINES = 1_000

LIMITS = {
    "timeoutMs": 480_000,
    "maxBuildBytes": 500_000_000,
    "maxFiles": 20_000,
    "maxFileBytes": 25_000_000,
    "maxLogBytes": 100_000_000,
    "maxLineBytes": 10_000,
    "maxProcesses": 512,
    "maxMemoryBytes": 4_096_000_000,
    "maxDiskBytes": 5_000_000_000,
    "maxCacheBytes": 1_000_000_000,
    "maxMirrorsBytes": 400_000_000,
}

# Where tests run, a mirror may stand for them.
REGISTRIES = ("registry.npmjs.org:443", "registry.yarnpkg.com:443")


def make_order(
    repository: dict[str, Any],
    settings: dict[str, Any] | None = None,
    env: dict[str, str] | None = None,
    limits: dict[str, int] | None = None,
    egress_allowed: Sequence[str] = REGISTRIES,
    egress_refused: Sequence[str] = (),
    project_id: str = "5d2f8c1e-0000-4000-8000-000000000002",
) -> dict[str, Any]:
    """Return an order as web sends it; `limits` changes single ones."""
    none = dict.fromkeys(("rootDir", "installCommand", "buildCommand", "outputDir", "nodeVersion"))
    return {
        "token": WORKING_TOKEN,
        "attemptId": ATTEMPT,
        "deploymentId": "5d2f8c1e-0000-4000-8000-000000000001",
        "projectId": project_id,
        "repository": {"branch": "main", "commit": None, "credential": None, "hostsAllowed": [], **repository},
        "settings": {**none, **(settings or {})},
        "env": env or {},
        "egressAllowed": list(egress_allowed),
        "egressPorts": [22, 80, 443],
        "egressRefused": list(egress_refused),
        "limits": {**LIMITS, **(limits or {})},
        "heartbeatIntervalMs": 500,
        "elapsedMs": 1200,
    }


@dataclass
class Faults:
    """What to do wrong, by the last part of the path (`logs`, `files`, `blobs`…)."""

    # This many requests of a kind are answered with 503.
    unavailable: dict[str, int] = field(default_factory=dict)
    # This many requests of a kind are cut off without an answer.
    dropped: dict[str, int] = field(default_factory=dict)
    # Set: every call is answered with 409 ATTEMPT_ENDED.
    ended: threading.Event = field(default_factory=threading.Event)
    # Set: batches of lines wait for it to be cleared.
    stall_logs: threading.Event = field(default_factory=threading.Event)


@dataclass
class FakeWeb:
    """What web knows about one attempt."""

    order: dict[str, Any]
    port: int = 0
    faults: Faults = field(default_factory=Faults)
    lines: list[dict[str, Any]] = field(default_factory=list)
    batches: int = 0
    source: dict[str, Any] | None = None
    files: list[dict[str, Any]] = field(default_factory=list)
    rules: dict[str, str] = field(default_factory=dict)
    # What web has to say of the rules.
    notes: list[str] = field(default_factory=list)
    blobs: dict[str, bytes] = field(default_factory=dict)
    uploaded: list[str] = field(default_factory=list)
    caches: dict[str, bytes] = field(default_factory=dict)
    # The keys of those that were asked for, and of those that the agent had already.
    wanted: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    finished: dict[str, Any] | None = None
    # The manifest of the build before, if that went well, and how many requests invited blobs.
    previous: dict[str, Any] | None = None
    invitations: int = 0
    # What the agent that has the order told it by.
    nonce: str | None = None
    violations: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def texts(self) -> list[str]:
        return [line["text"] for line in self.lines]

    @property
    def log(self) -> str:
        return "\n".join(self.texts)

    @property
    def paths(self) -> list[str]:
        return [file["path"] for file in self.files]

    def content(self, path: str) -> bytes:
        """Return what the site has at `path`."""
        return self.part(next(file for file in self.files if file["path"] == path))

    def part(self, listed: dict[str, Any]) -> bytes:
        """Return a file or a variant, wherever the list says that it is."""
        if "pack" not in listed:
            return self.blobs[listed["sha256"]]
        return self.blobs[listed["pack"]][listed["start"] :][: listed["size"]]

    def next_attempt(self, order: dict[str, Any] | None = None) -> None:
        """Start anew with what outlives an attempt: blobs and caches."""
        self.order = order or self.order
        if self.finished and self.finished["outcome"] == "built":
            self.previous = {"files": {file["path"]: file for file in self.files}}
        self.lines, self.batches, self.source, self.files, self.uploaded = [], 0, None, [], []
        self.wanted = []
        self.finished, self.nonce = None, None

    def wait_for_cache(self, kind: str, timeout_s: float = 240) -> None:
        """Wait until a cache whose key begins with `kind` was asked for."""
        deadline = time.monotonic() + timeout_s
        while not any(key.startswith(kind) for key in self.wanted):
            assert time.monotonic() < deadline, f"no {kind} was asked for, but {self.wanted}"
            time.sleep(0.05)

    def wait_for_line(self, text: str, timeout_s: float = 240) -> None:
        """Wait until a line of the log contains `text`."""
        deadline = time.monotonic() + timeout_s
        while text not in self.log:
            assert time.monotonic() < deadline, f"no line with {text!r} in:\n{self.log}"
            time.sleep(0.05)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    web: FakeWeb

    def do_GET(self) -> None:
        self._route()

    def do_POST(self) -> None:
        self._route()

    def do_PUT(self) -> None:
        self._route()

    def log_message(self, format: str, *args: object) -> None:
        """Tests look at FakeWeb instead."""

    def _route(self) -> None:
        prefix = f"/agent/attempts/{ATTEMPT}"
        kind, _, rest = self.path.removeprefix(prefix).lstrip("/").partition("/")
        body = self._body()
        if not kind:
            self._check_nonce()
        if body is None or not self.path.startswith(prefix) or self._fault(kind or "order"):
            return
        if not self._authorized(kind):
            self._error(401, "UNAUTHORIZED")
        elif self.web.faults.ended.is_set():
            self._error(409, "ATTEMPT_ENDED")
        else:
            with self.web.lock:
                self._answer(kind or "order", rest, body)

    def _answer(self, kind: str, rest: str, body: bytes) -> None:
        if self.web.finished is not None and kind != "cache":
            # What the build before left is asked for meanwhile; one that fails at once does not wait for it.
            if kind != "previous":
                self.web.violations.append(f"{self.command} {self.path} after the end")
            self._error(409, "ATTEMPT_ENDED")
        elif kind in ("blobs", "cache") and self.command != "POST":
            getattr(self, f"_{self.command.lower()}_{kind}")(rest, body)
        else:
            getattr(self, f"_{kind}")(json.loads(body) if body else {})

    def _order(self, body: Any) -> None:
        self._json(200, self.web.order)

    def _logs(self, body: Any) -> None:
        if body["batch"] == self.web.batches + 1:
            self.web.batches += 1
            self.web.lines += body["lines"]
        elif body["batch"] > self.web.batches:
            self.web.violations.append(f"batch {body['batch']} after {self.web.batches}")
        if len(body["lines"]) > MAX_BATCH_LINES:
            self.web.violations.append(f"a batch of {len(body['lines'])} lines")
        for line in body["lines"]:
            self._check_line(line)
        self._json(200, {"continue": True})

    def _check_line(self, line: dict[str, Any]) -> None:
        limit = self.web.order["limits"]["maxLineBytes"]
        wrong = CONTROL.search(line["text"]) or len(line["text"].encode()) > limit
        if wrong or set(line) != {"elapsedMs", "level", "text"} or line["level"] not in ("info", "warning", "error"):
            self.web.violations.append(f"a line {line!r:.200}")

    def _source(self, body: Any) -> None:
        self.web.source = body
        self._json(200, {})

    def _files(self, body: Any) -> None:
        self.web.files, self.web.rules = body["files"], body["rules"]
        parts = [part for file in body["files"] for part in (file, *file["encodings"].values())]
        hashes = [part.get("pack") or part["sha256"] for part in parts]
        lacking = [name for name in dict.fromkeys(hashes) if name not in self.web.blobs]
        self._json(200, {"uploads": self._uploads(lacking), "notes": self.web.notes})

    def _blobs(self, body: Any) -> None:
        self.web.invitations += 1
        self._json(200, {"uploads": self._uploads([blob["sha256"] for blob in body["blobs"]])})

    def _uploads(self, names: list[str]) -> list[dict[str, Any]]:
        url = f"{self.web.url}/agent/attempts/{ATTEMPT}/blobs/"
        return [{"sha256": name, "url": url + name, "headers": {}} for name in names]

    def _previous(self, body: Any) -> None:
        if self.web.previous is None:
            self._error(404, "NOT_FOUND")
        else:
            self._json(200, self.web.previous)

    def _put_blobs(self, name: str, body: bytes) -> None:
        if hashlib.sha256(body).hexdigest() != name:
            self.web.violations.append(f"blob {name} has another hash")
            self._error(422, "VALIDATION_ERROR")
            return
        self.web.blobs[name] = body
        self.web.uploaded.append(name)
        self._json(201, {})

    def _get_cache(self, key: str, body: bytes) -> None:
        if not key:
            modules = [saved for saved in self.web.caches if saved.startswith("modules-")]
            self._json(200, {"likely": modules[-1] if modules else None})
            return
        self.web.wanted.append(key)
        if key not in self.web.caches:
            self._error(404, "NOT_FOUND")
            return
        tag = hashlib.sha256(self.web.caches[key]).hexdigest()
        if f'"{tag}"' in self.headers.get("If-None-Match", ""):
            self.web.unchanged.append(key)
            self._send(304, b"", tag=tag)
        else:
            self._send(200, self.web.caches[key], "application/zstd", tag=tag)

    def _put_cache(self, key: str, body: bytes) -> None:
        if not CACHE_KEY.fullmatch(key):
            self.web.violations.append(f"a cache key {key!r}")
        self.web.caches.pop(key, None)
        self.web.caches[key] = body
        self._send(204, b"", tag=hashlib.sha256(body).hexdigest())

    def _finish(self, body: Any) -> None:
        if set(body) != {"outcome", "reason"} or body["outcome"] not in ("built", "failed"):
            self.web.violations.append(f"an end {body!r}")
        self.web.finished = body
        self._json(200, {})

    def _authorized(self, kind: str) -> bool:
        expected = WORKING_TOKEN if kind else BOOTSTRAP_TOKEN
        given = self.headers.get("Authorization")
        if given != f"Bearer {expected}":
            self.web.violations.append(f"{self.command} {self.path} with {given!r}")
        return given == f"Bearer {expected}"

    def _check_nonce(self) -> None:
        nonce = self.headers.get("Autostack-Nonce")
        if not nonce or self.web.nonce not in (None, nonce):
            self.web.violations.append(f"the order asked for with the nonce {nonce!r} after {self.web.nonce!r}")
        self.web.nonce = nonce

    def _fault(self, kind: str) -> bool:
        faults = self.web.faults
        while kind == "logs" and faults.stall_logs.is_set() and not faults.ended.is_set():
            time.sleep(0.02)
        with self.web.lock:
            if faults.dropped.get(kind, 0) > 0:
                faults.dropped[kind] -= 1
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return True
            if faults.unavailable.get(kind, 0) > 0:
                faults.unavailable[kind] -= 1
                self._error(503, "SERVICE_UNAVAILABLE")
                return True
        return False

    def _body(self) -> bytes | None:
        """Read the whole body, also a chunked one; None if the peer went away within it."""
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline() or b"-1", 16):
            if size < 0:
                self.close_connection = True
                return None
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return bytes(body)

    def _json(self, status: int, body: Any) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _error(self, status: int, code: str) -> None:
        self._json(status, {"error": {"code": code, "message": code}})

    def _send(self, status: int, body: bytes, content_type: str = "text/plain", tag: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        if tag:
            self.send_header("ETag", f'"{tag}"')
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """An agent that is killed drops its connections: that is what is tested."""


@contextmanager
def fake_web(order: dict[str, Any]) -> Iterator[FakeWeb]:
    """Serve one attempt on a free port of 127.0.0.1. Nothing that breaks the protocol passes."""
    web = FakeWeb(order)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.faults.stall_logs.clear()
        server.shutdown()
        server.server_close()
        thread.join()
    assert web.violations == [], web.violations
