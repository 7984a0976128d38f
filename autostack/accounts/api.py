"""The JSON API of accounts."""

from __future__ import annotations

import uuid

from flask import Blueprint

from autostack.accounts import access_tokens, deletions, identity, service, sessions, sign_in_codes, tickets
from autostack.accounts.access_tokens import AccessTokenNotFound, TooManyAccessTokens
from autostack.accounts.identity import SessionRequired
from autostack.accounts.oauth import AccountClosed
from autostack.accounts.schemas import (
    AccessTokenIn,
    AccessTokenOut,
    AccessTokensOut,
    ChangePasswordIn,
    DeleteAccountIn,
    ExchangeIn,
    ForgotPasswordIn,
    LogInIn,
    MessageOut,
    NewAccessTokenOut,
    PreferencesIn,
    PreferencesOut,
    ProfileIn,
    RefreshIn,
    ResetPasswordIn,
    SessionOut,
    SessionsOut,
    SignInOut,
    SignUpIn,
    TicketOut,
    TokensOut,
    UserOut,
    VerifyEmailIn,
)
from autostack.accounts.service import EmailTaken, FreshSignInRequired, InvalidCredentials, InvalidLink
from autostack.accounts.sessions import SessionNotFound
from autostack.accounts.sign_in_codes import InvalidCode
from autostack.errors import Invalid, Unauthorized
from autostack.web.access import account_owner, me, public, reader, signed_in
from autostack.web.operations import operation
from autostack.web.rate_limits import limit_authentication

RESET_ASKED_FOR = "If there is an account with this address, a mail with a link is on its way to it."

api = Blueprint("accounts_api", __name__, url_prefix="/api/auth")
user_api = Blueprint("user_api", __name__, url_prefix="/api/user")


@api.post("/signup")
@public
@limit_authentication
@operation(status=201, raises=[EmailTaken])
def sign_up(body: SignUpIn) -> TokensOut:
    """Sign up.

    Makes an account, signs it in and mails a link that confirms the address.
    """
    user = service.sign_up(body.name, body.email, body.password)
    return TokensOut.of(user, sessions.open_api_session(user, identity.visitor()))


@api.post("/login")
@public
@limit_authentication
@operation(raises=[InvalidCredentials])
def log_in(body: LogInIn) -> TokensOut:
    """Log in."""
    user = service.log_in(body.email, body.password)
    return TokensOut.of(user, sessions.open_api_session(user, identity.visitor()))


@api.post("/exchange")
@public
@limit_authentication
@operation(raises=[InvalidCode, AccountClosed])
def exchange(body: ExchangeIn) -> TokensOut:
    """Trade the code of a sign-in by GitHub or Google for tokens.

    For the front end at FRONTEND_URL, which is visited with `?code=` once somebody has signed in there. A code is good
    once, for a minute, with the verifier of the `codeChallenge` that the sign-in was begun with.
    """
    user = sign_in_codes.redeem(body.code, body.code_verifier)
    return TokensOut.of(user, sessions.open_api_session(user, identity.visitor()))


@api.post("/refresh")
@public
@operation(raises=[Unauthorized])
def refresh(body: RefreshIn) -> TokensOut:
    """Get new tokens.

    The refresh token that was given is used up. One that comes a second time ends its session.
    """
    return TokensOut.of(*sessions.refresh(body.refresh_token))


@api.post("/logout")
@reader
@operation(raises=[SessionRequired])
def log_out() -> None:
    """Log out.

    Ends the session that the request came with.
    """
    identity.end_session()


@api.post("/ticket")
@reader
@operation(status=201)
def make_ticket() -> TicketOut:
    """Get a ticket for a websocket.

    Send it as `?ticket=` in the websocket's address, where an access token could end up in a log. It is good once.
    """
    return TicketOut(ticket=tickets.issue(identity.current_sign_in()), expires_in=tickets.LIFETIME_S)


@api.get("/session")
@signed_in
@operation(raises=[SessionRequired])
def show_session() -> SessionOut:
    """Show the session that the request comes with."""
    return SessionOut.of(identity.current_session())


@api.post("/forgot-password")
@public
@limit_authentication
@operation()
def forgot_password(body: ForgotPasswordIn) -> MessageOut:
    """Ask for a link to a new password.

    The answer is the same whether or not there is such an account, and whether or not one was asked for a moment ago:
    then the link of that one stays good, and no other is sent.
    """
    service.ask_for_reset(body.email)
    return MessageOut(message=RESET_ASKED_FOR)


@api.post("/reset-password")
@public
@limit_authentication
@operation(raises=[InvalidLink])
def reset_password(body: ResetPasswordIn) -> MessageOut:
    """Choose a new password, with the secret of the link.

    Ends all sessions of the account.
    """
    service.reset_password(body.token, body.password)
    return MessageOut(message="The password is changed. Log in with the new one.")


@api.post("/verify-email")
@public
@limit_authentication
@operation(raises=[InvalidLink])
def verify_email(body: VerifyEmailIn) -> MessageOut:
    """Confirm an e-mail address, with the secret of the link."""
    service.verify_email(body.token)
    return MessageOut(message="The e-mail address is confirmed.")


@api.post("/resend-verification")
@signed_in
@limit_authentication
@operation()
def resend_verification() -> MessageOut:
    """Ask for another link that confirms the e-mail address.

    None is sent if the last one was sent just now: its link stays good.
    """
    service.ask_for_verification(me())
    return MessageOut(message="A mail with a link is on its way.")


@user_api.get("/profile")
@signed_in
@operation()
def show_profile() -> UserOut:
    """Show your profile."""
    return UserOut.of(me())


@user_api.put("/profile")
@account_owner
@operation()
def change_profile(body: ProfileIn) -> UserOut:
    """Change your name."""
    return UserOut.of(service.update_profile(me(), body.name))


@user_api.get("/preferences")
@signed_in
@operation()
def show_preferences() -> PreferencesOut:
    """Show your preferences."""
    return PreferencesOut.of(me().preferences)


@user_api.put("/preferences")
@account_owner
@operation()
def change_preferences(body: PreferencesIn) -> PreferencesOut:
    """Change your preferences.

    What is absent stays as it is.
    """
    return PreferencesOut.of(service.update_preferences(me(), body.changes()))


@user_api.put("/password")
@account_owner
@limit_authentication
@operation(raises=[Invalid, SessionRequired])
def change_password(body: ChangePasswordIn) -> None:
    """Change your password.

    Ends all your other sessions, and revokes your access tokens.
    """
    service.change_password(identity.current_session(), body.current_password, body.new_password)


@user_api.delete("/account")
@account_owner
@limit_authentication
@operation(raises=[Invalid, FreshSignInRequired, SessionRequired])
def delete_account(body: DeleteAccountIn) -> None:
    """Delete your account.

    For good, with all its projects, deployments, sites and sessions. It is closed at once; within moments its sites are
    gone, and its address is free again. An account without a password takes a sign-in of the last minutes instead.
    """
    deletions.delete_account(identity.current_session(), body.password)


@user_api.get("/sessions")
@account_owner
@operation(raises=[SessionRequired])
def list_sessions() -> SessionsOut:
    """List your sessions.

    Browsers and API clients that are signed in, the one used last first.
    """
    current = identity.current_session()
    return SessionsOut(sessions=[SignInOut.of(session, current.id) for session in sessions.sessions_of(me())])


@user_api.delete("/sessions")
@account_owner
@operation(raises=[SessionRequired])
def end_other_sessions() -> None:
    """End all your other sessions."""
    sessions.end_others(identity.current_session())


@user_api.delete("/sessions/<uuid:id>")
@account_owner
@operation(raises=[SessionNotFound])
def end_session(id: uuid.UUID) -> None:
    """End one of your sessions."""
    sessions.end(me(), id)


@user_api.get("/tokens")
@account_owner
@operation()
def list_access_tokens() -> AccessTokensOut:
    """List your personal access tokens."""
    return AccessTokensOut(tokens=[AccessTokenOut.of(token) for token in access_tokens.access_tokens_of(me())])


@user_api.post("/tokens")
@account_owner
@operation(status=201, raises=[TooManyAccessTokens, SessionRequired])
def create_access_token(body: AccessTokenIn) -> NewAccessTokenOut:
    """Make a personal access token.

    For the command line and CI: send it as `Authorization: Bearer`. It is shown in this answer only. `read` looks,
    `deploy` changes projects and deployments too, `admin` the account itself.
    """
    return NewAccessTokenOut.made(
        *access_tokens.create(identity.current_session(), body.name, body.scope, body.lifetime_s)
    )


@user_api.delete("/tokens/<uuid:id>")
@account_owner
@operation(raises=[AccessTokenNotFound])
def revoke_access_token(id: uuid.UUID) -> None:
    """Revoke a personal access token."""
    access_tokens.revoke(me(), id)
