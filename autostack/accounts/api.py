"""The JSON API of accounts."""

from __future__ import annotations

from flask import Blueprint

from autostack.accounts import identity, service
from autostack.accounts.schemas import (
    ChangePasswordIn,
    DeleteAccountIn,
    ForgotPasswordIn,
    LogInIn,
    MessageOut,
    PreferencesIn,
    PreferencesOut,
    ProfileIn,
    RefreshIn,
    ResetPasswordIn,
    SessionOut,
    SignUpIn,
    TokensOut,
    UserOut,
    VerifyEmailIn,
)
from autostack.accounts.service import EmailTaken, FreshSignInRequired, InvalidCredentials, InvalidLink
from autostack.errors import Invalid, Unauthorized
from autostack.web.access import me, public, signed_in
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
    return TokensOut.of(user, service.open_api_session(user))


@api.post("/login")
@public
@limit_authentication
@operation(raises=[InvalidCredentials])
def log_in(body: LogInIn) -> TokensOut:
    """Log in."""
    user = service.log_in(body.email, body.password)
    return TokensOut.of(user, service.open_api_session(user))


@api.post("/refresh")
@public
@operation(raises=[Unauthorized])
def refresh(body: RefreshIn) -> TokensOut:
    """Get new tokens.

    The refresh token that was given is used up. One that comes a second time ends its session.
    """
    return TokensOut.of(*service.refresh(body.refresh_token))


@api.post("/logout")
@signed_in
@operation()
def log_out() -> None:
    """Log out.

    Ends the session that the request came with.
    """
    identity.end_session()


@api.get("/session")
@signed_in
@operation()
def show_session() -> SessionOut:
    """Show the session that the request comes with."""
    return SessionOut.of(identity.current_session())


@api.post("/forgot-password")
@public
@limit_authentication
@operation()
def forgot_password(body: ForgotPasswordIn) -> MessageOut:
    """Ask for a link to a new password.

    The answer is the same whether or not there is such an account.
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
    """Ask for another link that confirms the e-mail address."""
    service.ask_for_verification(me())
    return MessageOut(message="A mail with a new link is on its way.")


@user_api.get("/profile")
@signed_in
@operation()
def show_profile() -> UserOut:
    """Show your profile."""
    return UserOut.of(me())


@user_api.put("/profile")
@signed_in
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
@signed_in
@operation()
def change_preferences(body: PreferencesIn) -> PreferencesOut:
    """Change your preferences.

    What is absent stays as it is.
    """
    return PreferencesOut.of(service.update_preferences(me(), body.changes()))


@user_api.put("/password")
@signed_in
@limit_authentication
@operation(raises=[Invalid])
def change_password(body: ChangePasswordIn) -> None:
    """Change your password.

    Ends all your other sessions.
    """
    service.change_password(identity.current_session(), body.current_password, body.new_password)


@user_api.delete("/account")
@signed_in
@limit_authentication
@operation(raises=[Invalid, FreshSignInRequired])
def delete_account(body: DeleteAccountIn) -> None:
    """Delete your account.

    With all its projects, deployments, sites and sessions, for good. An account without a password takes a sign-in of
    the last minutes instead of it.
    """
    service.delete_account(identity.current_session(), body.password)
