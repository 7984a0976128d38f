"""The pages that anybody may read."""

from __future__ import annotations

from flask import Blueprint, Response, make_response, redirect, render_template, url_for
from flask_login import current_user

from autostack.agent import detect
from autostack.extensions import settings
from autostack.proxy import gate_cookies
from autostack.web import handbook, showcase
from autostack.web.access import public

pages = Blueprint("public", __name__)


@pages.get("/")
@public
def landing() -> Response:
    """Welcome strangers; who is signed in goes on to the dashboard."""
    if current_user.is_authenticated:
        return make_response(redirect(url_for("dashboard.index")))
    return make_response(render_template("public/landing.html", **showcase.example()))


@pages.get("/<any(pricing, templates, pipelines, monitoring, team, integrations, terms, privacy):name>")
@public
def article(name: str) -> str:
    """Say something in a page of text: of what is not here yet, what there is instead."""
    known = {one.name for one in detect.frameworks()}
    return render_template(
        f"public/{name}.html",
        settings=settings(),
        frameworks=sorted(known, key=str.casefold),
        site_cookies=gate_cookies.names(settings()),
    )


@pages.get("/docs")
@public
def docs() -> str:
    return render_template("docs/index.html", contents=handbook.contents())


@pages.get('/docs/<any(configuration, aws, architecture, isolation, serving, "getting-started", "agent-api"):name>')
@public
def chapter(name: str) -> str:
    return render_template("docs/chapter.html", chapter=handbook.chapter(name), contents=handbook.contents())
