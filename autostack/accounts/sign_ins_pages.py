"""The settings pages of what is signed in to one's account: sessions and personal access tokens."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.accounts import access_tokens, identity, sessions
from autostack.accounts.schemas import AccessTokenIn
from autostack.accounts.scopes import Scope
from autostack.errors import AutostackError, Conflict, Invalid
from autostack.web.access import account_owner, me
from autostack.web.redirects import see_other

sessions_pages = Blueprint("sessions", __name__, url_prefix="/settings/sessions")
tokens_pages = Blueprint("access_tokens", __name__, url_prefix="/settings/tokens")

LIFETIMES = ((30, "30 days"), (90, "90 days"), (365, "1 year"), ("", "No end"))
SCOPES = (
    (Scope.DEPLOY, "Read and deploy"),
    (Scope.READ, "Read only"),
    (Scope.ADMIN, "Everything, the account too"),
)


@sessions_pages.get("")
@account_owner
def index() -> str:
    return render_template(
        "settings/sessions.html", sessions=sessions.sessions_of(me()), current=identity.current_session()
    )


@sessions_pages.post("/<uuid:id>/end")
@account_owner
def end(id: uuid.UUID) -> Response:
    sessions.end(me(), id)
    flash("The session has ended.", "success")
    return see_other(url_for("sessions.index"))


@sessions_pages.post("/end-others")
@account_owner
def end_others() -> Response:
    sessions.end_others(identity.current_session())
    flash("All other sessions have ended.", "success")
    return see_other(url_for("sessions.index"))


@tokens_pages.get("", endpoint="index")
@account_owner
def list_tokens() -> Response:
    return _tokens_page()


@tokens_pages.post("")
@account_owner
def create() -> Response:
    try:
        given = AccessTokenIn.parse(request.form)
        made, secret = access_tokens.create(identity.current_session(), given.name, given.scope, given.lifetime_s)
    except Invalid as error:
        return _tokens_page(error, errors=error.details)
    except Conflict as error:
        return _tokens_page(error, errors={"form": error.message})
    # Shown on this answer itself, not after a redirect: it is kept nowhere that could show it again.
    return _tokens_page(made=made, secret=secret)


@tokens_pages.post("/<uuid:id>/revoke")
@account_owner
def revoke(id: uuid.UUID) -> Response:
    access_tokens.revoke(me(), id)
    flash("The token is revoked.", "success")
    return see_other(url_for("access_tokens.index"))


def _tokens_page(error: AutostackError | None = None, **shown: object) -> Response:
    page = render_template(
        "settings/tokens.html",
        tokens=access_tokens.access_tokens_of(me()),
        form={"expiresInDays": 90, **request.form} if error else {"expiresInDays": 90},
        scopes=SCOPES,
        lifetimes=LIFETIMES,
        **{"errors": {}, "made": None, **shown},
    )
    return make_response(page, error.status if error else 200)
