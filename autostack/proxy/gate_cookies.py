"""The gate's cookies: one that lets in, and one by which a visitor who was in before is known when he comes again.

Both are signed, and good for one host only. The second one opens nothing: it has its visitor try passwords while
strangers use up what the site's visitors have together.
"""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
from functools import cached_property

from autostack.proxy.messages import Request
from autostack.settings import Settings
from autostack.sites.routes import Protection

ENTRY_NAME, KNOWN_NAME = "autostack-site", "autostack-known"
ENTRY_TTL_S = 7 * 86_400
KNOWN_TTL_S = 365 * 86_400
# A visitor's browser may bring others', too, that a neighbour under the same domain has put there.
MAX_COOKIES = 8
VISITOR_BYTES = 12
SIGNATURE = r"[A-Za-z0-9_-]{43}"
# As other servers' cookies stand beside them in one header.
OURS = re.compile(rf"(?:^|[;,])\s*(?:__Host-)?(?:{ENTRY_NAME}|{KNOWN_NAME})=[^;,]*".encode())


def names(settings: Settings) -> tuple[str, str]:
    """Return what the two are called: the one that lets in, and the one of who was in before."""
    # The prefix has browsers refuse one that a neighbour under the same domain has put there.
    prefix = "__Host-" if _is_secure(settings) else ""
    return prefix + ENTRY_NAME, prefix + KNOWN_NAME


class Cookies:
    """Makes and reads them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_secure = _is_secure(settings)
        self._entry, self._known = names(settings)
        self._entry_in = re.compile(rf"(?:^|[;,\s]){self._entry}=(\d{{1,12}})\.({SIGNATURE})".encode())
        self._known_in = re.compile(rf"(?:^|[;,\s]){self._known}=(\d{{1,12}}\.[0-9a-f]{{24}})\.({SIGNATURE})".encode())

    @cached_property
    def _key(self) -> bytes:
        secret = self._settings.secret("secret_key").encode()
        return hmac.digest(secret, b"cookies of protected sites", "sha256")

    def admits(self, request: Request, protection: Protection) -> bool:
        """Tell whether a request comes from somebody who has shown that he knows the password, or owns the site."""
        found = self._found(self._entry_in, request, protection.key_id)
        return any(int(expires_at) > time.time() for expires_at in found)

    def visitor(self, request: Request) -> str | None:
        """Return who asks, if he was let in before, by whichever password the site had then."""
        for told in self._found(self._known_in, request, KNOWN_NAME):
            expires_at, _, visitor = told.partition(".")
            if int(expires_at) > time.time():
                return visitor
        return None

    def new(self, request: Request, protection: Protection) -> list[str]:
        """Return the cookies for somebody who is let in."""
        now = int(time.time())
        visitor = self.visitor(request) or secrets.token_hex(VISITOR_BYTES)
        known = self._signed(f"{now + KNOWN_TTL_S}.{visitor}", request.host, KNOWN_NAME)
        entry = self._signed(str(now + ENTRY_TTL_S), request.host, protection.key_id)
        return [self._cookie(self._known, known, KNOWN_TTL_S), self._cookie(self._entry, entry, ENTRY_TTL_S)]

    def _found(self, pattern: re.Pattern[bytes], request: Request, purpose: str) -> list[str]:
        """Return what our cookies of one name say, those that we did sign for this host."""
        found = pattern.findall(request.headers.get(b"cookie", b""))[:MAX_COOKIES]
        pairs = ((told.decode(), signature.decode()) for told, signature in found)
        return [
            told
            for told, signature in pairs
            if hmac.compare_digest(signature, self._signature(told, request.host, purpose))
        ]

    def _cookie(self, name: str, value: str, ttl_s: int) -> str:
        secure = "; Secure" if self._is_secure else ""
        return f"{name}={value}; Path=/; Max-Age={ttl_s}; HttpOnly; SameSite=Lax{secure}"

    def _signed(self, told: str, host: str, purpose: str) -> str:
        return f"{told}.{self._signature(told, host, purpose)}"

    def _signature(self, told: str, host: str, purpose: str) -> str:
        digest = hmac.digest(self._key, f"{host}\n{purpose}\n{told}".encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")


def _is_secure(settings: Settings) -> bool:
    return settings.site_url("any").startswith("https://")
