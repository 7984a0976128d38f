"""GitHub, as Autostack meets it: authorize, token, user, user/emails, taking a token back, repositories."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar
from urllib.parse import unquote, urlencode

import httpx2

from tests.peers.oauth_server import CLIENT_ID, CLIENT_SECRET, Answer, Asked, OAuthServer, basic

API = "/api/v3"


def email(address: str, *, primary: bool = True, verified: bool = True) -> dict[str, Any]:
    return {"email": address, "primary": primary, "verified": verified, "visibility": "private"}


def github_account(id: int, login: str, *emails: dict[str, Any]) -> dict[str, Any]:
    """Return an account with its addresses."""
    avatar = f"https://avatars.example/u/{id}"
    return {"id": id, "login": login, "name": login.title(), "avatar_url": avatar, "emails": list(emails)}


@dataclass
class PeerRepository:
    """A repository at GitHub. `files` are by branch and path; `readers` are the logins that may see a private one."""

    id: int
    full_name: str
    private: bool = False
    default_branch: str = "main"
    pushed_at: str = "2026-01-01T00:00:00Z"
    branches: list[str] = field(default_factory=lambda: ["main"])
    files: dict[tuple[str, str], bytes] = field(default_factory=dict)
    readers: frozenset[str] = frozenset()

    def shown(self) -> dict[str, Any]:
        name = self.full_name.rpartition("/")[2]
        kept = {"id": self.id, "name": name, "full_name": self.full_name, "private": self.private}
        return {**kept, "default_branch": self.default_branch, "pushed_at": self.pushed_at, "fork": False}

    def listed(self, folder: str, branch: str) -> Answer:
        """Return what the contents API says of a folder, or of a file."""
        if (branch, folder) in self.files:
            return Answer(self.files[branch, folder])
        inside = [path.removeprefix(f"{folder}/") for at, path in self.files if at == branch and _is_in(path, folder)]
        kinds = {path.split("/")[0]: "dir" if "/" in path else "file" for path in inside}
        entries = [{"name": name, "type": kind} for name, kind in kinds.items()]
        return Answer(entries) if entries else NOT_FOUND


GIT_PATH = re.compile(r"/(info/refs|git-upload-pack)(\?|$)")
NOT_FOUND = Answer({"message": "Not Found"}, 404)


def _is_in(path: str, folder: str) -> bool:
    return not folder or path.startswith(f"{folder}/")


class GitHubPeer(OAuthServer):
    authorize_path: ClassVar[str] = "/login/oauth/authorize"
    token_path: ClassVar[str] = "/login/oauth/access_token"

    def first_account(self) -> dict[str, Any]:
        return github_account(583231, "octo", email("octo@example.com"))

    def grant(self, asked: Asked, token: str) -> dict[str, Any]:
        return {"access_token": token, "token_type": "bearer", "scope": self._scopes(asked).replace(" ", ",")}

    def refuse(self, error: str) -> Answer:
        # GitHub refuses with 200.
        return Answer({"error": error, "error_description": "No.", "error_uri": "https://docs.github.com"})

    def answer(self, method: str, path: str, given: dict[str, str], authorization: str) -> Answer:
        if method == "DELETE" and path == f"{API}/applications/{CLIENT_ID}/token":
            return self._forget(given["access_token"], authorization)
        if not path.startswith(API):
            return super().answer(method, path, given, authorization)
        asked = self.of_bearer(authorization)
        if asked is None:
            return Answer({"message": "Bad credentials"}, 401)
        if path == f"{API}/user":
            return Answer({key: value for key, value in asked.account.items() if key != "emails"})
        if path == f"{API}/user/emails" and "user:email" in self._scopes(asked):
            return Answer(asked.account["emails"])
        if path == f"{API}/user/repos":
            pushed = sorted(self._readable(asked), key=lambda one: one.pushed_at, reverse=given["direction"] == "desc")
            return self._page(path, given, [one.shown() for one in pushed])
        if path.startswith(f"{API}/repos/"):
            return self._of_repository(asked, path, given)
        return NOT_FOUND

    def reset(self) -> None:
        super().reset()
        self.repositories: list[PeerRepository] = []
        # Where the repositories of this GitHub are served, all of them private.
        self.git_url: str | None = None

    def pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> Answer | None:
        if self.git_url is None or not GIT_PATH.search(handler.path):
            return None
        authorization = handler.headers.get("Authorization")
        if authorization is None or basic(authorization)[1] not in self.tokens:
            return Answer(status=401, headers={"WWW-Authenticate": 'Basic realm="GitHub"'})
        headers = {name: value for name, value in handler.headers.items() if name.startswith(("Content-", "Git-"))}
        url = f"{self.git_url}{handler.path}"
        answered = httpx2.request(handler.command, url, headers=headers, content=body, trust_env=False, timeout=60)
        return Answer(
            answered.content, answered.status_code, headers={"Content-Type": answered.headers["Content-Type"]}
        )

    def _of_repository(self, asked: Asked, path: str, given: dict[str, str]) -> Answer:
        owner, name, *rest = unquote(path.removeprefix(f"{API}/repos/")).split("/")
        found = [one for one in self._readable(asked) if one.full_name.lower() == f"{owner}/{name}".lower()]
        if not found:
            return NOT_FOUND
        if not rest:
            return Answer(found[0].shown())
        if rest == ["branches"]:
            return self._page(path, given, [{"name": one, "commit": {"sha": "0" * 40}} for one in found[0].branches])
        if rest[0] == "contents":
            return found[0].listed("/".join(rest[1:]).strip("/"), given.get("ref", found[0].default_branch))
        return NOT_FOUND

    def _readable(self, asked: Asked) -> list[PeerRepository]:
        private = "repo" in self._scopes(asked)
        login = asked.account["login"]
        return [one for one in self.repositories if not one.private or (private and login in one.readers)]

    def _page(self, path: str, given: dict[str, str], every: list[dict[str, Any]]) -> Answer:
        """Return one page, with the others' addresses in the header `Link`, as GitHub does."""
        number, size = int(given.get("page", 1)), min(int(given.get("per_page", 30)), 100)
        if number * size >= len(every):
            return Answer(every[(number - 1) * size :])
        query = urlencode({**given, "page": number + 1})
        headers = {"Link": f'<{self.url}{path}?{query}>; rel="next", <{self.url}{path}?page=99>; rel="last"'}
        return Answer(every[(number - 1) * size : number * size], headers=headers)

    def _forget(self, token: str, authorization: str) -> Answer:
        if basic(authorization) != (CLIENT_ID, CLIENT_SECRET):
            return NOT_FOUND
        return Answer(status=204 if self.tokens.pop(token, None) else 404)

    @staticmethod
    def _scopes(asked: Asked) -> str:
        return str(asked.account.get("granted", asked.parameters.get("scope", "")))


@contextmanager
def running_github() -> Iterator[GitHubPeer]:
    """Play GitHub on a free port of 127.0.0.1, with the account `octo`."""
    peer = GitHubPeer()
    try:
        yield peer
    finally:
        peer.close()
