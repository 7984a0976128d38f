"""What a browser's session keeps of signing in by GitHub and Google."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import cast

from flask import session

from autostack.accounts.oauth import Errand, InvalidState, PasswordNeeded, Purpose
from autostack.accounts.providers import Identity, Provider
from autostack.extensions import settings
from autostack.web.browser_sessions import BrowserSession

PENDING_LINK = "oauth_link"


@dataclass(frozen=True)
class PendingLink:
    """An identity that waits for the password of the account that it is to sign in to."""

    user_id: uuid.UUID
    identity: Identity
    errand: Errand


def browser_secret() -> str:
    """Return what only this browser and we know: a state is worth something together with it only.

    It is the id of the browser's session, which needs no Redis to be known again.
    """
    browser = cast(BrowserSession, session._get_current_object())  # type: ignore[attr-defined]
    # Who has no cookie yet is given one.
    browser.modified = browser.modified or browser.new
    return browser.id


def keep_link(needed: PasswordNeeded, errand: Errand) -> None:
    """Keep for a while what is to be linked once the password is there."""
    identity = needed.identity
    session[PENDING_LINK] = {
        "user_id": str(needed.user_id),
        "provider": identity.provider.value,
        "subject": identity.subject,
        "name": identity.name,
        "email": identity.email,
        "email_verified": identity.email_verified,
        "avatar_url": identity.avatar_url,
        "target": errand.target,
        "challenge": errand.challenge,
        "until": time.time() + settings().oauth_state_expires_in_s,
    }


def pending_link() -> PendingLink:
    """Return what is to be linked. Raises InvalidState where there is nothing (any more)."""
    kept = session.get(PENDING_LINK)
    if kept is None or kept["until"] <= time.time():
        raise InvalidState
    identity = Identity(
        Provider(kept["provider"]),
        kept["subject"],
        kept["name"],
        kept["email"],
        kept["email_verified"],
        kept["avatar_url"],
    )
    errand = Errand(Purpose.SIGN_IN, target=kept["target"], challenge=kept.get("challenge"))
    return PendingLink(uuid.UUID(kept["user_id"]), identity, errand)
