"""A real Git server over smart HTTP for tests: `git http-backend` behind the standard library's HTTP server.

with serve_repositories(folder) as server:
    repository = make_repository(folder / "site.git", {"index.html": "<h1>hi</h1>"})
    server.url("site.git"), server.host
"""

from __future__ import annotations

import base64
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

AUTHOR = {
    "GIT_AUTHOR_NAME": "Alice",
    "GIT_AUTHOR_EMAIL": "alice@example.com",
    "GIT_COMMITTER_NAME": "Alice",
    "GIT_COMMITTER_EMAIL": "alice@example.com",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


@dataclass
class Repository:
    """A bare repository on disk that tests push commits to."""

    path: Path

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "Change", branch: str = "main") -> str:
        """Write `files` (None removes one) as a new commit of `branch`; return its hash."""
        with tempfile.TemporaryDirectory() as folder:
            checkout = Path(folder)
            git(checkout, "clone", "-q", str(self.path), ".")
            if git(checkout, "ls-remote", "--heads", "origin", branch):
                git(checkout, "checkout", "-q", branch)
            else:
                git(checkout, "checkout", "-q", "-b", branch)
            for name, content in files.items():
                _write(checkout / name, content)
            git(checkout, "add", "--all", "--force")
            git(checkout, "commit", "-q", "--allow-empty", "-m", message)
            git(checkout, "push", "-q", "origin", f"HEAD:refs/heads/{branch}")
            return git(checkout, "rev-parse", "HEAD")


def _write(path: Path, content: str | bytes | None) -> None:
    if content is None:
        path.unlink()
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def git(folder: Path, *arguments: str) -> str:
    """Run git in `folder`; return its output without the last line end. Raises CalledProcessError."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), **AUTHOR}
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def make_repository(path: Path, files: Mapping[str, str | bytes | None] | None = None) -> Repository:
    """Make a bare repository at `path` whose default branch is `main`; commit `files` if any are given."""
    path.mkdir(parents=True)
    git(path, "init", "-q", "--bare", "--initial-branch=main", ".")
    repository = Repository(path)
    if files is not None:
        repository.commit(files, "First commit")
    return repository


class Gate:
    """Holds back the second half of one answer with objects, once it was closed, until it is opened."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._opened = threading.Event()
        self.reached = threading.Event()

    def close(self) -> None:
        self._opened.clear()
        self.reached.clear()
        self._closed.set()

    def open(self) -> None:
        self._closed.clear()
        self._opened.set()

    def pass_by(self) -> None:
        if self._closed.is_set():
            self._closed.clear()
            self.reached.set()
            self._opened.wait()


@dataclass
class GitServer:
    """What is being served, on which port, the requests seen so far (`GET /site.git/info/refs?…`), and who came."""

    port: int
    requests: list[str] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    # How many bytes each answer of git had.
    sizes: list[int] = field(default_factory=list)
    gate: Gate = field(default_factory=Gate)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def url(self, name: str) -> str:
        return f"http://{self.host}/{name}"


class _Handler(BaseHTTPRequestHandler):
    folder: Path
    credential: tuple[str, str] | None
    redirect_to: str | None
    seen: list[str]
    authorizations: list[str]
    sizes: list[int]
    gate: Gate

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        self.seen.append(f"{self.command} {self.path}")
        if authorization := self.headers.get("Authorization"):
            self.authorizations.append(authorization)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.redirect_to:
            self._plain(302, {"Location": self.redirect_to + self.path})
        elif self.credential and self.headers.get("Authorization") != _basic(*self.credential):
            self._plain(401, {"WWW-Authenticate": 'Basic realm="git"'})
        else:
            self._backend(body)

    def _plain(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _backend(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.folder),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        self.sizes.append(len(content))
        headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self.send_response(int(headers.pop("Status", "200").split()[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        half = len(content) // 2 if b"PACK" in content else 0
        try:
            self.wfile.write(content[:half])
            if half:
                self.gate.pass_by()
            self.wfile.write(content[half:])
        except OSError:
            return  # The client was ended: that is what is tested.

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `GitServer.requests` instead."""


def _basic(username: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


@contextmanager
def serve_repositories(
    folder: Path, credential: tuple[str, str] | None = None, redirect_to: str | None = None
) -> Iterator[GitServer]:
    """Serve every repository below `folder` on a free port of 127.0.0.1.

    With `credential` (user name, password) basic authentication is asked for; with `redirect_to` every request is
    answered with a redirect to that origin.
    """
    seen: list[str] = []
    authorizations: list[str] = []
    attributes: dict[str, Any] = {"folder": folder, "credential": credential, "redirect_to": redirect_to}
    sizes: list[int] = []
    gate = Gate()
    told = {"seen": seen, "authorizations": authorizations, "sizes": sizes, "gate": gate}
    handler = type("Handler", (_Handler,), attributes | told)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield GitServer(server.server_address[1], seen, authorizations, sizes, gate)
    finally:
        gate.open()
        server.shutdown()
        server.server_close()
        thread.join()
