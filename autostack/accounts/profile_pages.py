"""The settings page of the profile: what others see of somebody, and the picture."""

from __future__ import annotations

import uuid
from typing import Any

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for
from werkzeug.exceptions import RequestEntityTooLarge

from autostack.accounts import avatars, service
from autostack.accounts.schemas import ProfileIn
from autostack.errors import AutostackError, Invalid
from autostack.web.access import account_owner, me, public
from autostack.web.rate_limits import limit_uploads
from autostack.web.redirects import see_other

pages = Blueprint("profile", __name__)

# A form's boundaries and its other fields come on top of the picture.
FORM_BYTES = 10_000
A_DAY_S = 86_400


@pages.url_value_preprocessor
def take_pictures(endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Take larger requests than other routes do, before anything has looked into the form."""
    if endpoint == "profile.change_avatar":
        request.max_content_length = avatars.MAX_BYTES + FORM_BYTES


@pages.errorhandler(RequestEntityTooLarge)
def say_too_large(_error: RequestEntityTooLarge) -> Response:
    """Say at its field that a picture is too large, as of one that was read. The form itself was not."""
    too_large = avatars.TooLarge()
    return make_response(_rendered({"name": me().name}, too_large.details), RequestEntityTooLarge.code)


@pages.get("/settings")
@account_owner
def index() -> Response:
    return _page()


@pages.post("/settings")
@account_owner
def update() -> Response:
    try:
        service.update_profile(me(), ProfileIn.parse(request.form).name)
    except Invalid as error:
        return _page(error)
    flash("Your profile is saved.", "success")
    return see_other(url_for("profile.index"))


@pages.post("/settings/avatar")
@account_owner
@limit_uploads
def change_avatar() -> Response:
    try:
        given = request.files.get("avatar")
        avatars.replace(me(), given.stream.read(avatars.MAX_BYTES + 1) if given else b"")
    except Invalid as error:
        return _page(error)
    flash("Your picture is changed.", "success")
    return see_other(url_for("profile.index"))


@pages.post("/settings/avatar/remove")
@account_owner
def remove_avatar() -> Response:
    avatars.remove(me())
    flash("Your picture is removed.", "success")
    return see_other(url_for("profile.index"))


@pages.get("/avatars/<uuid:id>")
@public
def avatar(id: uuid.UUID) -> Response:
    # Who was told the address may see it, as programs that show `avatarUrl` need. Another picture has another one.
    response = Response(avatars.picture(id), mimetype=avatars.MEDIA_TYPE)
    response.headers["Cache-Control"] = f"public, max-age={A_DAY_S}, immutable"
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def _page(error: AutostackError | None = None) -> Response:
    form = {"name": request.form.get("name", me().name)}
    return make_response(_rendered(form, error.details if error else {}), error.status if error else 200)


def _rendered(form: dict[str, str], errors: dict[str, Any]) -> str:
    limit_mb = avatars.MAX_BYTES // 1_000_000
    return render_template("settings/profile.html", form=form, errors=errors, limit_mb=limit_mb)
