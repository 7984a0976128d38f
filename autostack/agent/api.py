"""The agents' API of web (`docs/agent-api.md`), from the agent's side: typed, with bounded retries."""

from __future__ import annotations

import random
import re
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, Literal
from urllib.parse import urlsplit

import httpx2

from autostack.agent.errors import AttemptEnded, BuildFailed, InfrastructureError
from autostack.agent.order import Order
from autostack.agent.sending import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S, Sender

RETRY_FOR_S = 300.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
# How often the address of a blob is asked for anew that the store refuses.
RENEWALS = 2
STREAM_BYTES = 256 * 1024
NONCE_HEADER = "Autostack-Nonce"
CACHE_KEY = re.compile(r"[a-z0-9-]{1,100}")
TAG = re.compile(r"[0-9a-f]{64}")

Outcome = Literal["built", "failed"]


@dataclass(frozen=True)
class Upload:
    """Where one blob goes, with the headers that must be sent and no others."""

    sha256: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Listed:
    """What web answers to the list of files: which blobs it wants, and what is wrong with the rules."""

    uploads: list[Upload]
    notes: list[str]


@dataclass(frozen=True)
class Cache:
    """A build cache: the tag that its archive has in the store, and its bytes if they are not known."""

    tag: str
    chunks: Iterator[bytes] | None


class Api:
    """One attempt's side of the conversation. Safe to use from several threads."""

    def __init__(
        self,
        base_url: str,
        attempt_id: str,
        bootstrap_token: str,
        *,
        ca_bundle: Path | None = None,
        retry_for_s: float = RETRY_FOR_S,
    ) -> None:
        self._base = f"{base_url.rstrip('/')}/agent/attempts/{attempt_id}"
        self._origin = _origin(base_url)
        self._token = bootstrap_token
        self._nonce = secrets.token_urlsafe(32)
        self._retry_for_s = retry_for_s
        context = ssl.create_default_context(cafile=str(ca_bundle)) if ca_bundle else httpx2.create_ssl_context()
        self._sender = Sender(context)
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            verify=context,
            trust_env=False,
            follow_redirects=False,
        )
        self.ended = threading.Event()

    def close(self) -> None:
        self._client.close()

    def fetch_order(self) -> Order:
        """Fetch the order, and use its working token from now on.

        The nonce lets us, and nobody else, ask again for an answer that was lost.
        """
        order = Order.parse(self._call("GET", "", headers={NONCE_HEADER: self._nonce}))
        self._token = order.token
        return order

    def send_logs(self, batch: int, lines: list[dict[str, Any]]) -> None:
        """Send a numbered batch of lines. Raises AttemptEnded when web answers that the build should stop."""
        answer = self._call("POST", "/logs", {"batch": batch, "lines": lines})
        if answer.get("continue") is False:
            self.ended.set()
            raise AttemptEnded("web says that the build should stop")

    def report_source(self, source: Mapping[str, Any]) -> None:
        """Say what was cloned and detected."""
        self._call("POST", "/source", source)

    def list_files(self, files: list[dict[str, Any]], rules: Mapping[str, str]) -> Listed:
        """Send the output's files and rules; return what is to be done. Raises BuildFailed if web refuses the list."""
        answer = self._call("POST", "/files", {"files": files, "rules": dict(rules)})
        return Listed(_uploads(answer), [str(note) for note in answer.get("notes", [])])

    def previous(self) -> dict[str, Any]:
        """Return the manifest of what the branch showed before, an empty one if there is none or it cannot be had."""
        try:
            return self._call("GET", "/previous")
        except InfrastructureError:
            return {}

    def invite(self, blobs: Mapping[str, int]) -> list[Upload]:
        """Return where blobs, given as hashes and sizes, go before all files are known."""
        listed = [{"sha256": sha256, "size": size} for sha256, size in blobs.items()]
        return _uploads(self._call("POST", "/blobs", {"blobs": listed}))

    def finish(self, outcome: Outcome, reason: str | None = None) -> None:
        """Report the end."""
        self._call("POST", "/finish", {"outcome": outcome, "reason": reason})

    def put_blob(self, upload: Upload, open_blob: Callable[[], IO[bytes]], size: int) -> None:
        """Upload one blob; it is opened anew for each try."""
        for _ in range(RENEWALS):
            response = self._put(upload, open_blob, size)
            if _origin(upload.url) == self._origin or response.status_code not in (400, 403):
                break
            # A signed address that is too old by now, or bytes that were too long on their way.
            (upload,) = self.invite({upload.sha256: size})
        else:
            response = self._put(upload, open_blob, size)
        self._checked(response)

    def _put(self, upload: Upload, open_blob: Callable[[], IO[bytes]], size: int) -> httpx2.Response:
        headers = dict(upload.headers)
        if _origin(upload.url) == self._origin:
            headers |= self._authorization()

        def send() -> httpx2.Response:
            with open_blob() as blob:
                return self._sender.put(upload.url, headers, blob, size)

        return self._retried(send)

    def likely_cache(self) -> str | None:
        """Return the key of the `node_modules` that this build will probably ask for. Raises InfrastructureError."""
        try:
            response = self._client.get(f"{self._base}/cache", headers=self._authorization())
            key = response.json()["likely"] if response.is_success else None
        except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
            raise InfrastructureError(f"web told no likely build cache: {error!r}") from None
        return key if isinstance(key, str) and CACHE_KEY.fullmatch(key) else None

    @contextmanager
    def cache(self, key: str, known: Sequence[str] = ()) -> Iterator[Cache | None]:
        """Give a build cache, or None if there is none or it cannot be had: a build goes without.

        `known` are the tags of those that need not be sent: then its stream is None (RFC 9110, section 13.1.2).
        """
        headers = self._authorization()
        if known:
            headers["If-None-Match"] = ", ".join(f'"{tag}"' for tag in known)
        try:
            with self._client.stream("GET", f"{self._base}/cache/{key}", headers=headers) as response:
                if response.status_code == 200:
                    yield Cache(_tag(response), response.iter_bytes(STREAM_BYTES))
                elif response.status_code == 304:
                    yield Cache(_tag(response), None)
                else:
                    yield None
        except httpx2.HTTPError as error:
            raise InfrastructureError(f"the build cache could not be read: {error!r}") from None

    def put_cache(self, key: str, chunks: Iterable[bytes]) -> str:
        """Send a build cache as a stream, once; return its tag. Raises InfrastructureError if web does not take it."""
        try:
            url = f"{self._base}/cache/{key}"
            response = self._client.put(url, headers=self._authorization(), content=iter(chunks))
        except httpx2.HTTPError as error:
            raise InfrastructureError(f"the build cache could not be saved: {error!r}") from None
        if not response.is_success:
            raise InfrastructureError(f"the build cache could not be saved: web answered {response.status_code}")
        return _tag(response)

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def _call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = MappingProxyType({})
    ) -> dict[str, Any]:
        def send() -> httpx2.Response:
            sent = {**headers, **self._authorization()}
            return self._client.request(method, self._base + path, headers=sent, json=body)

        response = self._checked(self._retried(send))
        answer: dict[str, Any] = response.json() if response.content else {}
        return answer

    def _retried(self, send: Callable[[], httpx2.Response]) -> httpx2.Response:
        """Send until there is an answer other than 429 and 5xx, for a bounded time. Every call is safe to repeat."""
        give_up_at = time.monotonic() + self._retry_for_s
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                response = send()
                if response.status_code != 429 and response.status_code < 500:
                    return response
                problem = f"web answered {response.status_code}"
            except httpx2.TransportError as error:
                problem = repr(error)
            if time.monotonic() + pause_s > give_up_at:
                raise InfrastructureError(f"web cannot be reached: {problem}")
            if self.ended.wait(pause_s * random.uniform(0.5, 1)):  # noqa: S311 - a jitter
                raise AttemptEnded("the attempt has ended")
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _checked(self, response: httpx2.Response) -> httpx2.Response:
        if response.is_success:
            return response
        code, message = _error(response)
        if response.status_code == 409 and code == "ATTEMPT_ENDED":
            self.ended.set()
            raise AttemptEnded(message)
        if response.status_code in (413, 422):
            raise BuildFailed(message)
        raise InfrastructureError(f"web refused with {response.status_code}: {message}")


def _uploads(answer: Mapping[str, Any]) -> list[Upload]:
    return [Upload(item["sha256"], item["url"], item.get("headers") or {}) for item in answer["uploads"]]


def _tag(response: httpx2.Response) -> str:
    """Return a cache's tag. It names a folder here: what is not as web makes them counts as none."""
    tag = response.headers.get("ETag", "").strip('"')
    return tag if TAG.fullmatch(tag) else ""


def _error(response: httpx2.Response) -> tuple[str | None, str]:
    """Return code and message of web's error envelope."""
    try:
        error = response.json()["error"]
        return error["code"], str(error.get("message") or error["code"])
    except (ValueError, KeyError, TypeError):
        return None, f"status {response.status_code}"


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
