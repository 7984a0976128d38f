"""Browsers' sessions: the cookie is a random id and nothing else, what belongs to it is kept in Redis.

A signed-in browser's id is also the secret of its row in `sessions` (`accounts/identity.py`), and forms' tokens follow
from it: when Redis is emptied or away, messages that wait for the next page are lost, but nobody is logged out and no
form that stands open fails.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from typing import Any

import structlog
from flask import Flask, Request, Response, g
from flask.json.tag import TaggedJSONSerializer
from flask.sessions import SessionInterface, SessionMixin
from redis import Redis
from redis.exceptions import RedisError
from werkzeug.datastructures import CallbackDict

log = structlog.stdlib.get_logger(__name__)

ID = re.compile(r"[A-Za-z0-9_-]{43}")
# Where Flask-WTF keeps what its tokens are made of, and in `g` that it made one.
CSRF = "csrf_token"
# A Redis that failed is not asked again for so long: each page would wait for it.
AWAY_S = 5.0


def new_id() -> str:
    """Return an id that nobody can guess: 256 random bits."""
    return secrets.token_urlsafe(32)


class BrowserSession(CallbackDict[str, Any], SessionMixin):
    """One browser's session, for the length of a request. `new`: its cookie is not the one that came."""

    def __init__(self, id: str, new: bool, data: dict[str, Any], key: bytes) -> None:
        super().__init__({**data, CSRF: _csrf(id, key)}, on_update=lambda self: setattr(self, "modified", True))
        self.id, self.new, self.modified = id, new, False
        self.left_behind: list[str] = []
        self._key = key

    def renew(self, id: str) -> None:
        """Go on as another session, empty and with another cookie: nothing that was known of the old one helps."""
        self.left_behind.append(self.id)
        self.clear()
        self.id, self.new, self.modified = id, True, True
        self[CSRF] = _csrf(id, self._key)

    @property
    def kept(self) -> dict[str, Any]:
        """What Redis is to keep: all but what follows from the id."""
        return {name: value for name, value in self.items() if name != CSRF}


class BrowserSessions(SessionInterface):
    """Reads and writes sessions for Flask."""

    def __init__(self, redis: Redis, key: str, lifetime_s: int) -> None:
        self._redis = redis
        self._key = key.encode()
        self._lifetime_s = lifetime_s
        self._serializer = TaggedJSONSerializer()
        self._away_until = 0.0

    def open_session(self, app: Flask, request: Request) -> BrowserSession:
        """Return the session of the request's cookie, or a new one."""
        id = request.cookies.get(self.get_cookie_name(app), "")
        if not ID.fullmatch(id):
            return BrowserSession(new_id(), True, {}, self._key)
        return BrowserSession(id, False, self._load(id), self._key)

    def save_session(self, app: Flask, session: SessionMixin, response: Response) -> None:
        """Keep what changed. A cookie is only given to who needs one: for a form, or for what is kept."""
        assert isinstance(session, BrowserSession)  # noqa: S101 - `open_session` makes no others
        if session.modified:
            self._store(session)
        if session.new and (session.modified or CSRF in g):
            response.vary.add("Cookie")
            response.set_cookie(
                self.get_cookie_name(app),
                session.id,
                expires=self.get_expiration_time(app, session),
                path="/",
                secure=self.get_cookie_secure(app),
                httponly=True,
                samesite=self.get_cookie_samesite(app),
            )

    def _load(self, id: str) -> dict[str, Any]:
        if time.monotonic() < self._away_until:
            return {}
        try:
            stored = self._redis.get(_name(id))
            data: dict[str, Any] = self._serializer.loads(stored.decode()) if isinstance(stored, bytes) else {}
        except RedisError as error:
            self._note(error)
            return {}
        except ValueError:
            # Not as we write them: an earlier version's, say.
            return {}
        return data

    def _store(self, session: BrowserSession) -> None:
        if time.monotonic() < self._away_until:
            return
        old = [_name(id) for id in session.left_behind]
        try:
            if session.kept:
                self._redis.set(_name(session.id), self._serializer.dumps(session.kept), ex=self._lifetime_s)
            else:
                old.append(_name(session.id))
            if old:
                self._redis.delete(*old)
        except RedisError as error:
            self._note(error)

    def _note(self, error: Exception) -> None:
        self._away_until = time.monotonic() + AWAY_S
        log.warning("browsers' sessions are not kept", error=str(error))


def _csrf(id: str, key: bytes) -> str:
    return hmac.digest(key, f"csrf {id}".encode(), "sha256").hex()


def _name(id: str) -> str:
    # The id itself is a secret: who reads Redis must not be able to use it.
    return f"autostack:browser:{hashlib.sha256(id.encode()).hexdigest()}"
