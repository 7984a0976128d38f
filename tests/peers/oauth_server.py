"""What the peers that play GitHub and Google share: an OAuth 2 server that is as strict as they are, and can fail."""

from __future__ import annotations

import contextlib
import hashlib
import html
import json
import re
import secrets
import threading
from abc import ABC, abstractmethod
from base64 import b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2

CLIENT_ID = "autostack-of-the-tests"
CLIENT_SECRET = "only-autostack-and-the-provider-know"
MAX_STALL_S = 60
# Of a browser, on a machine that does much else.
TIMEOUT_S = 60


class Fault(Enum):
    """How an endpoint can fail."""

    ERROR = auto()
    GARBAGE = auto()
    WRONG_SHAPE = auto()
    NESTED = auto()
    HUGE = auto()
    RESET = auto()
    STALL = auto()
    TRICKLE = auto()


@dataclass(frozen=True)
class Answer:
    body: Any = None
    status: int = 200
    location: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """One visit of a browser to the authorization endpoint, with its parameters."""

    account: Mapping[str, Any]
    parameters: Mapping[str, str]


class OAuthServer(ABC):
    """A provider. Its browser is always signed in there as `account`; `faults` and other `bodies` are by path, and
    `meanwhile` is what happens once before the answer.
    """

    authorize_path: ClassVar[str]
    token_path: ClassVar[str]

    def __init__(self) -> None:
        self.reset()
        self._ended = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def reset(self) -> None:
        """Forget all that was done here."""
        self.account = self.first_account()
        self.faults: dict[str, Fault] = {}
        self.bodies: dict[str, Any] = {}
        self.answers: dict[str, Answer] = {}
        self.meanwhile: dict[str, Callable[[], None]] = {}
        self.asked: list[Asked] = []
        self.tokens: dict[str, Asked] = {}
        self.calls: list[str] = []
        self._requests: dict[str, Asked] = {}
        self._codes: dict[str, Asked] = {}

    @abstractmethod
    def first_account(self) -> dict[str, Any]:
        """Return who is signed in here at first."""

    @abstractmethod
    def grant(self, asked: Asked, token: str) -> dict[str, Any]:
        """Return what a good code is exchanged for."""

    def close(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()

    def decide(self, url: str, answer: str = "yes") -> str:
        """Open the authorization page as a browser does and press a button; return where that leads."""
        page = httpx2.get(url, trust_env=False, timeout=TIMEOUT_S)
        assert page.status_code == 200, page.text
        [link] = re.findall(rf'href="([^"]+answer={answer})"', page.text)
        decided = httpx2.get(self.url + html.unescape(link), trust_env=False, timeout=TIMEOUT_S)
        assert decided.status_code == 302, decided.text
        return str(decided.headers["Location"])

    def answer(self, method: str, path: str, given: dict[str, str], authorization: str) -> Answer:
        """Answer a request. The providers' own endpoints come in subclasses."""
        if (method, path) == ("GET", self.authorize_path):
            return self._ask(given)
        if (method, path) == ("GET", "/decide"):
            return self._decided(given)
        if (method, path) == ("POST", self.token_path):
            return self._exchange(given)
        return Answer({"message": "Not Found"}, 404)

    def pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> Answer | None:
        """Have another server answer what this one does not."""
        return None

    def of_bearer(self, authorization: str) -> Asked | None:
        return self.tokens.get(authorization.removeprefix("Bearer "))

    def refuse(self, error: str) -> Answer:
        """Refuse at the token endpoint."""
        return Answer({"error": error}, 400)

    def fail(self, handler: BaseHTTPRequestHandler, fault: Fault) -> None:
        """Fail a request in this way."""
        bodies = {
            Fault.ERROR: (500, b"oops"),
            Fault.GARBAGE: (200, b"<html>\xff\xfe not JSON"),
            Fault.WRONG_SHAPE: (200, b'{"id": {}, "issuer": [], "access_token": 7, "keys": "none"}'),
            Fault.NESTED: (200, b"[" * 400_000),
            Fault.HUGE: (200, b" " * 3_000_000),
        }
        if fault is Fault.STALL:
            self._ended.wait(MAX_STALL_S)
        elif fault is Fault.TRICKLE:
            self._trickle(handler)
        elif fault is not Fault.RESET:
            status, body = bodies[fault]
            _send(handler, status, body, {"Content-Type": "application/json"})

    def _trickle(self, handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not self._ended.wait(0.2):
                handler.wfile.write(b" ")

    def _ask(self, given: dict[str, str]) -> Answer:
        assert given["client_id"] == CLIENT_ID
        assert given["response_type"] == "code"
        assert given["code_challenge_method"] == "S256"
        assert len(given["state"]) >= 32
        asked, key = Asked(dict(self.account), given), secrets.token_hex(8)
        self.asked.append(asked)
        self._requests[key] = asked
        links = [f'<a href="/decide?request={key}&amp;answer={answer}">{answer}</a>' for answer in ("yes", "no")]
        return Answer(f"<!doctype html><title>Authorize</title><h1>Authorize Autostack?</h1>{' '.join(links)}")

    def _decided(self, given: dict[str, str]) -> Answer:
        asked = self._requests.pop(given["request"])
        back = {"state": asked.parameters["state"]}
        if given["answer"] == "yes":
            back["code"] = secrets.token_hex(10)
            self._codes[back["code"]] = asked
        else:
            back |= {"error": "access_denied", "error_description": "The user has denied your application access."}
        return Answer(status=302, location=f"{asked.parameters['redirect_uri']}?{urlencode(back)}")

    def _exchange(self, given: dict[str, str]) -> Answer:
        if (given.get("client_id"), given.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET):
            return self.refuse("incorrect_client_credentials")
        asked = self._codes.pop(given.get("code", ""), None)
        if asked is None:
            return self.refuse("bad_verification_code")
        challenge = urlsafe_b64encode(hashlib.sha256(given.get("code_verifier", "").encode()).digest()).rstrip(b"=")
        if asked.parameters["code_challenge"] != challenge.decode():
            return self.refuse("bad_verification_code")
        if given.get("redirect_uri") != asked.parameters["redirect_uri"]:
            return self.refuse("redirect_uri_mismatch")
        token = f"peer_{secrets.token_urlsafe(24)}"
        self.tokens[token] = asked
        return Answer(self.grant(asked, token))


def basic(authorization: str) -> tuple[str, str]:
    """Return name and password of an Authorization header."""
    name, _, password = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    return name, password


def _handler(server: OAuthServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            server.calls.append(f"{self.command} {parts.path}")
            server.meanwhile.pop(parts.path, lambda: None)()
            if fault := server.faults.get(parts.path):
                server.fail(self, fault)
                return
            given = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if passed := server.pass_on(self, body):
                _write(self, passed)
                return
            if body and "json" in self.headers.get("Content-Type", ""):
                given |= json.loads(body)
            elif body:
                given |= {name: values[0] for name, values in parse_qs(body.decode()).items()}
            answered = server.answers.get(parts.path) or server.answer(
                self.command, parts.path, given, self.headers.get("Authorization", "")
            )
            body_instead = server.bodies.get(parts.path)
            _write(self, answered if body_instead is None else Answer(body_instead))

        do_POST = do_DELETE = do_GET  # noqa: N815 - the standard library's names

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _write(handler: BaseHTTPRequestHandler, answered: Answer) -> None:
    kind, body = _serialized(answered.body)
    headers = {"Content-Type": kind, **answered.headers}
    _send(handler, answered.status, body, headers | ({"Location": answered.location} if answered.location else {}))


def _serialized(body: Any) -> tuple[str, bytes]:
    if isinstance(body, bytes):
        return "application/octet-stream", body
    if isinstance(body, str):
        return "text/html", body.encode()
    return "application/json", b"" if body is None else json.dumps(body).encode()


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str]) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    # The client may have had enough.
    with contextlib.suppress(OSError):
        handler.wfile.write(body)
