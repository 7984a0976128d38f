"""The settings pages of what somebody prefers: which mails, which theme."""

from __future__ import annotations

from flask import Blueprint, Response, flash, make_response, render_template, request, url_for

from autostack.accounts import service
from autostack.accounts.schemas import PreferencesIn
from autostack.web.access import account_owner, me
from autostack.web.htmx import is_htmx
from autostack.web.redirects import see_other
from autostack.web.themes import remember_theme

pages = Blueprint("preferences", __name__, url_prefix="/settings")

NOTIFICATIONS = ("emailNotifications", "deploymentSuccessNotifications", "deploymentFailureNotifications")


@pages.get("/notifications")
@account_owner
def notifications() -> str:
    return render_template("settings/notifications.html", preferences=me().preferences)


@pages.post("/notifications")
@account_owner
def change_notifications() -> Response:
    # A browser sends only the boxes that are checked.
    chosen = PreferencesIn.parse({name: name in request.form for name in NOTIFICATIONS})
    service.update_preferences(me(), chosen.changes())
    flash("Your notifications are saved.", "success")
    return see_other(url_for("preferences.notifications"))


@pages.get("/appearance")
@account_owner
def appearance() -> str:
    return render_template("settings/appearance.html", preferences=me().preferences)


@pages.post("/appearance")
@account_owner
def change_appearance() -> Response:
    chosen = PreferencesIn.parse({"theme": request.form.get("theme")})
    preferences = service.update_preferences(me(), chosen.changes())
    if is_htmx():
        return remember_theme(make_response("", 204), preferences.theme)
    flash("Your theme is saved.", "success")
    return remember_theme(see_other(url_for("preferences.appearance")), preferences.theme)
