"""The agents' API of web (`docs/agent-api.md`), from the agent's side: typed, with bounded retries."""

from __future__ import annotations

import random
import re
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal
from urllib.parse import urlsplit

import httpx2

from autostack.agent.errors import AttemptEnded, BuildFailed, InfrastructureError
from autostack.agent.order import Order

RETRY_FOR_S = 300.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 60.0
STREAM_BYTES = 256 * 1024
TAG = re.compile(r"[0-9a-f]{64}")

Outcome = Literal["built", "failed"]


@dataclass(frozen=True)
class Upload:
    """Where one blob goes, with the headers that must be sent and no others."""

    sha256: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)


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
        self._retry_for_s = retry_for_s
        self._client = httpx2.Client(
            timeout=httpx2.Timeout(ANSWER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            verify=ssl.create_default_context(cafile=str(ca_bundle)) if ca_bundle else True,
            trust_env=False,
            follow_redirects=False,
        )
        self.ended = threading.Event()

    def close(self) -> None:
        self._client.close()

    def fetch_order(self) -> Order:
        """Fetch the order, and use its working token from now on."""
        order = Order.parse(self._call("GET", ""))
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

    def list_files(self, files: list[dict[str, Any]]) -> list[Upload]:
        """Send the output's files; return what to upload. Raises BuildFailed if web refuses the list."""
        answer = self._call("POST", "/files", {"files": files})
        return [Upload(item["sha256"], item["url"], item.get("headers") or {}) for item in answer["uploads"]]

    def finish(self, outcome: Outcome, reason: str | None = None) -> None:
        """Report the end."""
        self._call("POST", "/finish", {"outcome": outcome, "reason": reason})

    def put_blob(self, upload: Upload, open_blob: Callable[[], IO[bytes]], size: int) -> None:
        """Upload one blob; it is opened anew for each try."""
        headers = {**upload.headers, "Content-Length": str(size)}
        if _origin(upload.url) == self._origin:
            headers |= self._authorization()

        def send() -> httpx2.Response:
            with open_blob() as blob:
                return self._client.put(upload.url, headers=headers, content=_chunks(blob))

        self._retried(send)

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

    def _call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        def send() -> httpx2.Response:
            return self._client.request(method, self._base + path, headers=self._authorization(), json=body)

        response = self._retried(send)
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
                    return self._checked(response)
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


def _chunks(blob: IO[bytes]) -> Iterator[bytes]:
    while chunk := blob.read(STREAM_BYTES):
        yield chunk


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
