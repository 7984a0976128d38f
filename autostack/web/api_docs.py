"""The API's description: for programs as OpenAPI, for people as a page made from it."""

from __future__ import annotations

import json
import shlex
from importlib.metadata import version
from typing import Any, cast

from flask import Blueprint, Response, current_app, jsonify, render_template

from autostack.extensions import settings
from autostack.web.access import public
from autostack.web.examples import REFERENCE, Json
from autostack.web.openapi import JSON, document
from autostack.web.operations import operation

pages = Blueprint("api_docs", __name__)

MADE = "autostack_openapi"
# What stands above the operations of a tag, in the page's order; other tags follow.
GROUPS = {
    "auth": "Signing in",
    "user": "Your account",
    "projects": "Projects",
    "deployments": "Deployments",
    "github": "GitHub",
    "admin": "Administration",
    "openapi.json": "This description",
}


@pages.get("/api/openapi.json")
@public
@operation(media_types=["application/json"])
def openapi() -> Response:
    """Describe this API, as OpenAPI 3.1."""
    return jsonify(_document())


@pages.get("/docs/api")
@public
def index() -> str:
    described = _document()
    return render_template("docs/api.html", info=described["info"], groups=_groups(described))


def _document() -> Json:
    made = current_app.extensions
    if MADE not in made:
        made[MADE] = document(current_app, version("autostack"), settings().app_url)
    return cast(Json, made[MADE])


def _groups(described: Json) -> dict[str, list[Json]]:
    """Return the operations as the page shows them, by the first part of their paths."""
    groups: dict[str, list[Json]] = {title: [] for title in GROUPS.values()}
    for path, verbs in described["paths"].items():
        for verb, found in verbs.items():
            tag = found["tags"][0]
            shown = _shown(verb.upper(), path, found, described)
            groups.setdefault(GROUPS.get(tag, tag.capitalize()), []).append(shown)
    return {title: operations for title, operations in groups.items() if operations}


def _shown(verb: str, path: str, found: Json, described: Json) -> Json:
    schemas: Json = described["components"]["schemas"]
    body = found.get("requestBody", {}).get("content", {}).get(JSON)
    success, *errors = sorted(found["responses"].items())
    return {
        **found,
        "anchor": found["operationId"].replace(".", "-"),
        "verb": verb,
        "path": path,
        "scope": found["security"][0]["token"][0] if found["security"] else None,
        "parameters": [_field(one["name"], one["schema"], one["required"]) | one for one in found["parameters"]],
        "fields": _fields(schemas[body["schema"]["$ref"].removeprefix(REFERENCE)]) if body else [],
        "curl": _curl(verb, described["servers"][0]["url"] + path, body, bool(found["security"])),
        "status": success[0],
        "answer": _pretty(success[1].get("content", {}).get(JSON, {}).get("example")),
        "errors": [(status, error["description"]) for status, error in errors],
    }


def _fields(schema: Json) -> list[Json]:
    required = schema.get("required", ())
    return [_field(name, field, name in required) for name, field in schema.get("properties", {}).items()]


def _field(name: str, schema: Json, required: bool) -> Json:
    return {
        "name": name,
        "kind": _kind(schema),
        "required": required,
        "default": schema.get("default"),
        "description": schema.get("description", ""),
    }


def _kind(schema: Json) -> str:
    """Return a schema's type in words: `string`, `integer`, `light or dark or null`."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_kind(one) for one in schema["anyOf"]))
    if "enum" in schema:
        return " or ".join(map(str, schema["enum"]))
    if "$ref" in schema:
        return str(schema["$ref"].removeprefix(REFERENCE))
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return str(schema.get("format") or schema.get("type", "any"))


def _curl(verb: str, address: str, body: Json | None, signed_in: bool) -> str:
    lines = [f"curl -X {verb} {shlex.quote(address) if '{' not in address else address}"]
    if signed_in:
        lines.append('-H "Authorization: Bearer $TOKEN"')
    if body is not None:
        lines += [f"-H 'Content-Type: {JSON}'", f"-d {shlex.quote(json.dumps(body['example'], ensure_ascii=False))}"]
    return " \\\n  ".join(lines)


def _pretty(example: Any) -> str | None:
    return None if example is None else json.dumps(example, indent=2, ensure_ascii=False)
