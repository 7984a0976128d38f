"""GitHub, as Autostack meets it: authorize, token, user, user/emails, and taking a token back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

from tests.peers.oauth_server import CLIENT_ID, CLIENT_SECRET, Answer, Asked, OAuthServer, basic

API = "/api/v3"


def email(address: str, *, primary: bool = True, verified: bool = True) -> dict[str, Any]:
    return {"email": address, "primary": primary, "verified": verified, "visibility": "private"}


def github_account(id: int, login: str, *emails: dict[str, Any]) -> dict[str, Any]:
    """Return an account with its addresses."""
    avatar = f"https://avatars.example/u/{id}"
    return {"id": id, "login": login, "name": login.title(), "avatar_url": avatar, "emails": list(emails)}


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
        return Answer({"message": "Not Found"}, 404)

    def _forget(self, token: str, authorization: str) -> Answer:
        if basic(authorization) != (CLIENT_ID, CLIENT_SECRET):
            return Answer({"message": "Not Found"}, 404)
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
