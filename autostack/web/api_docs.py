"""The API's description: for programs as OpenAPI, for people as a page made from it."""

from __future__ import annotations

from importlib.metadata import version
from typing import cast

from flask import Blueprint, Response, current_app, jsonify

from autostack.extensions import settings
from autostack.web.access import public
from autostack.web.examples import Json
from autostack.web.openapi import document
from autostack.web.operations import operation

pages = Blueprint("api_docs", __name__)

MADE = "autostack_openapi"


@pages.get("/api/openapi.json")
@public
@operation(media_types=["application/json"])
def openapi() -> Response:
    """Describe this API, as OpenAPI 3.1."""
    return jsonify(_document())


def _document() -> Json:
    made = current_app.extensions
    if MADE not in made:
        made[MADE] = document(current_app, version("autostack"), settings().app_url)
    return cast(Json, made[MADE])
