"""Signing in by GitHub and Google: which account somebody gets into, and which ways into an account there are.

Identity is (provider, subject), never the e-mail address: addresses change hands. An address only leads to an account
where provider and account have both seen it confirmed; else the account's password does.
"""

from __future__ import annotations

import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

import structlog
from sqlalchemy import delete, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import InstrumentedAttribute

from autostack.accounts import providers, service
from autostack.accounts.models import OAuthRequest, User, UserPreferences
from autostack.accounts.providers import Asked, Grant, Identity, Provider
from autostack.errors import BadRequest, Conflict, Forbidden, NotFound
from autostack.extensions import db, rowcount, settings

log = structlog.stdlib.get_logger(__name__)

COLUMNS: dict[Provider, InstrumentedAttribute[str | None]] = {
    Provider.GITHUB: User.github_id,
    Provider.GOOGLE: User.google_id,
}
MAX_TARGET_CHARACTERS = 2000
MAX_COLUMN_CHARACTERS = 255
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
WEB_ADDRESS = re.compile(r"https?://[^\s\x00-\x1f]{1,2000}")
# As for sign-ups: see `schemas.EMAIL`.
EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f.]+(\.[^@\s\x00-\x1f.]+)+")


class Purpose(StrEnum):
    """What a browser was sent away for."""

    SIGN_IN = "sign_in"
    LINK = "link"
    CONNECT = "connect"


class InvalidState(BadRequest):
    """One answer for a state that never was, was used, has expired, or is another browser's."""

    code = "INVALID_STATE"

    def __init__(self) -> None:
        super().__init__("This sign-in was not begun in this browser, or it took too long. Begin again.")


class AccessDenied(Forbidden):
    code = "ACCESS_DENIED"

    def __init__(self, provider: Provider) -> None:
        super().__init__(f"{provider.label} says that you did not agree. Nothing has changed.")


class EmailNotVerified(Forbidden):
    code = "EMAIL_NOT_VERIFIED"

    def __init__(self, provider: Provider) -> None:
        label = provider.label
        super().__init__(
            f"{label} has not confirmed your e-mail address. Confirm it there, or sign up with a password."
        )


class AccountClosed(Forbidden):
    code = "ACCOUNT_CLOSED"

    def __init__(self) -> None:
        super().__init__("This account is closed.")


class IdentityTaken(Conflict):
    code = "IDENTITY_TAKEN"

    def __init__(self, provider: Provider) -> None:
        super().__init__(f"This {provider.label} account already signs in to another account here.")


class OtherIdentity(Conflict):
    code = "OTHER_IDENTITY"

    def __init__(self, provider: Provider) -> None:
        label = provider.label
        super().__init__(
            f"Another {label} account signs in to this account. Sign in with that one, or remove it first."
        )


class OtherWayFirst(Conflict):
    code = "OTHER_WAY_FIRST"

    def __init__(self, provider: Provider) -> None:
        label = provider.label
        super().__init__(f"An account has this address. Sign in as you did before, and add {label} in its settings.")


class LastSignInMethod(Conflict):
    code = "LAST_SIGN_IN_METHOD"

    def __init__(self) -> None:
        super().__init__("This is the only way to sign in to your account. Set a password or add another way first.")


class NoFrontEnd(NotFound):
    code = "NO_FRONT_END"

    def __init__(self) -> None:
        super().__init__("This installation has no front end elsewhere than the dashboard (FRONTEND_URL).")


class PasswordNeeded(Exception):
    """There is an account with this address, and only its password shows that it is the same person's."""

    def __init__(self, user_id: uuid.UUID, identity: Identity) -> None:
        super().__init__("password needed")
        self.user_id = user_id
        self.identity = identity


@dataclass(frozen=True)
class Errand:
    """What a browser is sent away for, by whom, and where it goes then.

    With a `challenge` that is FRONTEND_URL, for a code that takes the challenge's verifier.
    """

    purpose: Purpose
    user_id: uuid.UUID | None = None
    target: str = ""
    challenge: str | None = None


@dataclass(frozen=True)
class Return:
    """A browser that came back from its errand."""

    errand: Errand
    asked: Asked


def begin(provider: Provider, errand: Errand, browser: str) -> str:
    """Return where to send a browser, `browser` being a secret that only it and we know.

    Raises ProviderNotConfigured, NoFrontEnd, ProviderTrouble.
    """
    client = providers.client_of(provider, settings())
    if errand.challenge is not None and not settings().has_front_end_elsewhere:
        raise NoFrontEnd
    # No transaction is open while a server far away takes its time.
    db.session.rollback()
    asked = Asked.of(browser, secrets.token_urlsafe(32))
    is_connection = errand.purpose is Purpose.CONNECT
    scope = providers.GITHUB_DEPLOYMENT_SCOPE if is_connection else client.sign_in_scope
    url = client.authorization_url(asked, scope)
    now = datetime.now(UTC)
    db.session.execute(delete(OAuthRequest).where(OAuthRequest.expires_at <= now))
    request = OAuthRequest(
        token=asked.token,
        provider=provider.value,
        purpose=errand.purpose.value,
        user_id=errand.user_id,
        target=errand.target if len(errand.target) <= MAX_TARGET_CHARACTERS else "",
        challenge=errand.challenge,
        expires_at=now + timedelta(seconds=settings().oauth_state_expires_in_s),
    )
    db.session.add(request)
    db.session.commit()
    return url


def come_back(provider: Provider, browser: str, state: str, user_id: uuid.UUID | None) -> Return:
    """Take a browser back, in which this user is signed in. Its state is used up, whatever follows.

    Raises ProviderNotConfigured, InvalidState.
    """
    providers.client_of(provider, settings())
    asked = Asked.of(browser, state)
    errand = _redeem(asked, provider)
    # Who signs in is nobody yet, or somebody else until now; all else is for who asked for it.
    if errand.purpose is not Purpose.SIGN_IN and errand.user_id != user_id:
        raise InvalidState
    return Return(errand, asked)


def granted(provider: Provider, given: Mapping[str, str], asked: Asked) -> Grant:
    """Return what a browser came back with is good for. Raises AccessDenied, ProviderTrouble."""
    if given.get("error") == "access_denied":
        raise AccessDenied(provider)
    if not given.get("code"):
        refusal = given.get("error", "")
        said = refusal if providers.REFUSAL.fullmatch(refusal) else None
        log.warning("refused", provider=provider.value, said=said)
        raise providers.ProviderTrouble(provider)
    return providers.client_of(provider, settings()).exchange(given["code"], asked)


def identify(provider: Provider, grant: Grant, asked: Asked) -> Identity:
    """Return who has come back. Raises ProviderTrouble."""
    return _tidy(providers.client_of(provider, settings()).identify(grant, asked))


def sign_in(identity: Identity) -> User:
    """Return the account that somebody gets into, made or linked if need be.

    Raises PasswordNeeded, AccountClosed, EmailNotVerified, OtherIdentity, OtherWayFirst, Conflict.
    """
    user: User | None = db.session.scalar(select(User).where(COLUMNS[identity.provider] == identity.subject))
    if user is None:
        user = _of_address(identity)
    if user is None:
        user = _sign_up(identity)
    if not user.is_active:
        raise AccountClosed
    log.info("logged in", user_id=str(user.id), provider=identity.provider.value)
    return user


def link(user: User, identity: Identity) -> None:
    """Let an identity sign in to an account from now on. Raises IdentityTaken, OtherIdentity."""
    column, user_id = COLUMNS[identity.provider], user.id
    free = update(User).where(User.id == user_id, or_(column.is_(None), column == identity.subject))
    values = {column.key: identity.subject, "avatar_url": user.avatar_url or identity.avatar_url}
    try:
        linked = rowcount(db.session.execute(free.values(values)))
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise IdentityTaken(identity.provider) from None
    if not linked:
        raise OtherIdentity(identity.provider)
    log.info("provider linked", user_id=str(user_id), provider=identity.provider.value)


def link_by_password(user_id: uuid.UUID, identity: Identity, password: str) -> User:
    """Link an identity to the account whose address it has, and return that. Raises InvalidCredentials, Conflict."""
    email = db.session.scalar(select(User.email).where(User.id == user_id))
    user = service.log_in(email or "", password)
    link(user, identity)
    if identity.email_verified and identity.email == user.email:
        user.email_verified = True
        db.session.commit()
    return user


def unlink(user: User, provider: Provider) -> None:
    """Let an identity sign in no more. Raises LastSignInMethod."""
    column = COLUMNS[provider]
    others_left = [COLUMNS[known] for known in providers.configured(settings()) if known is not provider]
    ways = [User.password_hash, *others_left]
    # In one statement, so that two at once cannot take the last two ways.
    others = update(User).where(User.id == user.id, or_(*(way.is_not(None) for way in ways)))
    unlinked = rowcount(db.session.execute(others.values({column.key: None})))
    db.session.commit()
    if not unlinked:
        raise LastSignInMethod
    log.info("provider unlinked", user_id=str(user.id), provider=provider.value)


def linked(user: User) -> frozenset[Provider]:
    """Return by whom one can sign in to an account."""
    return frozenset(provider for provider, column in COLUMNS.items() if getattr(user, column.key))


def _redeem(asked: Asked, provider: Provider) -> Errand:
    """Use a state up; return what it was for."""
    used = delete(OAuthRequest).where(
        OAuthRequest.token == asked.token,
        OAuthRequest.provider == provider.value,
        OAuthRequest.expires_at > datetime.now(UTC),
    )
    columns = (OAuthRequest.purpose, OAuthRequest.user_id, OAuthRequest.target, OAuthRequest.challenge)
    request = db.session.execute(used.returning(*columns)).one_or_none()
    db.session.commit()
    if request is None:
        raise InvalidState
    return Errand(Purpose(request.purpose), request.user_id, request.target, request.challenge)


def _of_address(identity: Identity) -> User | None:
    """Return the account with the identity's address, linked with it if that is safe."""
    user: User | None = db.session.scalar(select(User).where(User.email == identity.email))
    if user is None:
        return None
    if not user.is_active:
        raise AccountClosed
    if getattr(user, COLUMNS[identity.provider].key) is not None:
        raise OtherIdentity(identity.provider)
    if not (identity.email_verified and user.email_verified):
        if user.password_hash is None:
            raise OtherWayFirst(identity.provider)
        raise PasswordNeeded(user.id, identity)
    link(user, identity)
    return user


def _sign_up(identity: Identity) -> User:
    # An address that nobody has confirmed may be somebody else's.
    if identity.email is None or not identity.email_verified:
        raise EmailNotVerified(identity.provider)
    user = User(
        name=identity.name or identity.email.partition("@")[0],
        email=identity.email,
        email_verified=True,
        avatar_url=identity.avatar_url,
        preferences=UserPreferences(),
        **{COLUMNS[identity.provider].key: identity.subject},
    )
    db.session.add(user)
    try:
        db.session.commit()
    except IntegrityError:
        db.session.rollback()
        raise Conflict("This account was made a moment ago. Sign in again.") from None
    log.info("signed up", user_id=str(user.id), provider=identity.provider.value)
    return user


def _tidy(identity: Identity) -> Identity:
    """Return an identity in the form in which accounts keep names and addresses."""
    email = service.normal_email(identity.email or "")
    usable = len(email) <= MAX_COLUMN_CHARACTERS and EMAIL.fullmatch(email) and not UNPRINTABLE.search(email)
    return replace(
        identity,
        name=UNPRINTABLE.sub("", identity.name).strip()[:MAX_COLUMN_CHARACTERS],
        email=email if usable else None,
        email_verified=bool(usable and identity.email_verified),
        avatar_url=identity.avatar_url if WEB_ADDRESS.fullmatch(identity.avatar_url or "") else None,
    )
