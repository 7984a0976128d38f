"""The JSON API of accounts."""

from __future__ import annotations

from flask import Blueprint, Response, make_response

from autostack.accounts import identity, service
from autostack.accounts.schemas import LogInIn, RefreshIn, SessionOut, SignUpIn, TokensOut
from autostack.web.access import public, signed_in
from autostack.web.rate_limits import limit_authentication
from autostack.web.schemas import answer, read_json

api = Blueprint("accounts_api", __name__, url_prefix="/api/auth")


@api.after_request
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
