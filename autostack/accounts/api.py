"""The JSON API of accounts."""

from __future__ import annotations

from flask import Blueprint, Response, make_response

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
from autostack.web.access import me, public, signed_in
from autostack.web.rate_limits import limit_authentication
from autostack.web.schemas import answer, read_json

RESET_ASKED_FOR = "If there is an account with this address, a mail with a link is on its way to it."

api = Blueprint("accounts_api", __name__, url_prefix="/api/auth")
user_api = Blueprint("user_api", __name__, url_prefix="/api/user")


@api.after_request
@user_api.after_request
def keep_out_of_caches(response: Response) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return response


@api.post("/signup")
@public
@limit_authentication
def sign_up() -> Response:
    given = read_json(SignUpIn)
    user = service.sign_up(given.name, given.email, given.password)
    return answer(TokensOut.of(user, service.open_api_session(user)), 201)


@api.post("/login")
@public
@limit_authentication
def log_in() -> Response:
    given = read_json(LogInIn)
    user = service.log_in(given.email, given.password)
    return answer(TokensOut.of(user, service.open_api_session(user)))


@api.post("/refresh")
@public
def refresh() -> Response:
    return answer(TokensOut.of(*service.refresh(read_json(RefreshIn).refresh_token)))


@api.post("/logout")
@signed_in
def log_out() -> Response:
    identity.end_session()
    return make_response("", 204)


@api.get("/session")
@signed_in
def show_session() -> Response:
    return answer(SessionOut.of(identity.current_session()))


@api.post("/forgot-password")
@public
@limit_authentication
def forgot_password() -> Response:
    service.ask_for_reset(read_json(ForgotPasswordIn).email)
    return answer(MessageOut(message=RESET_ASKED_FOR))


@api.post("/reset-password")
@public
@limit_authentication
def reset_password() -> Response:
    given = read_json(ResetPasswordIn)
    service.reset_password(given.token, given.password)
    return answer(MessageOut(message="The password is changed. Log in with the new one."))


@api.post("/verify-email")
@public
@limit_authentication
def verify_email() -> Response:
    service.verify_email(read_json(VerifyEmailIn).token)
    return answer(MessageOut(message="The e-mail address is confirmed."))


@api.post("/resend-verification")
@signed_in
@limit_authentication
def resend_verification() -> Response:
    service.ask_for_verification(me())
    return answer(MessageOut(message="A mail with a new link is on its way."))


@user_api.get("/profile")
@signed_in
def show_profile() -> Response:
    return answer(UserOut.of(me()))


@user_api.put("/profile")
@signed_in
def change_profile() -> Response:
    return answer(UserOut.of(service.update_profile(me(), read_json(ProfileIn).name)))


@user_api.get("/preferences")
@signed_in
def show_preferences() -> Response:
    return answer(PreferencesOut.of(me().preferences))


@user_api.put("/preferences")
@signed_in
def change_preferences() -> Response:
    return answer(PreferencesOut.of(service.update_preferences(me(), read_json(PreferencesIn).changes())))


@user_api.put("/password")
@signed_in
@limit_authentication
def change_password() -> Response:
    given = read_json(ChangePasswordIn)
    service.change_password(identity.current_session(), given.current_password, given.new_password)
    return make_response("", 204)


@user_api.delete("/account")
@signed_in
@limit_authentication
def delete_account() -> Response:
    service.delete_account(me(), read_json(DeleteAccountIn).password)
    return make_response("", 204)
