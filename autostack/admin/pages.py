"""The pages of admins."""

from __future__ import annotations

import uuid

from flask import Blueprint, Response, flash, render_template, request, url_for

from autostack.admin import service
from autostack.admin.schemas import UserSearchIn
from autostack.deployments import hosts
from autostack.deployments import service as deployments
from autostack.deployments.schemas import BrowseIn
from autostack.errors import Conflict
from autostack.web.access import me, superuser
from autostack.web.redirects import see_other

pages = Blueprint("admin", __name__, url_prefix="/admin")


@pages.get("/users")
@superuser
def users() -> str:
    query = UserSearchIn.parse(request.args)
    page = service.search_users(text=query.search, page=query.page, limit=query.limit)
    return render_template(
        "admin/users.html", users=page.items, pagination=page.numbers(), filters={"search": query.search}
    )


@pages.post("/users/<uuid:id>/suspend")
@superuser
def suspend(id: uuid.UUID) -> Response:
    try:
        user = service.suspend(me(), id)
    except Conflict as error:
        flash(error.message, "error")
    else:
        flash(f"{user.email} is suspended, and signed out everywhere.", "success")
    return see_other(url_for("admin.users"))


@pages.post("/users/<uuid:id>/reactivate")
@superuser
def reactivate(id: uuid.UUID) -> Response:
    try:
        user = service.reactivate(me(), id)
    except Conflict as error:
        flash(error.message, "error")
    else:
        flash(f"{user.email} may sign in again.", "success")
    return see_other(url_for("admin.users"))


@pages.get("/deployments")
@superuser
def all_deployments() -> str:
    query = BrowseIn.parse(request.args)
    shown = deployments.browse_everyones(**query.wanted())
    return render_template(
        "admin/deployments.html",
        deployments=shown.items,
        addresses=hosts.addresses(shown.items),
        newer=shown.newer,
        older=shown.older,
        filters=query.filters(),
    )
