"""The API's description (OpenAPI 3.1), made from what stands at each route: its rule, access, operation and models.

Of our own and not a library's: those for Flask read bodies and render errors their own way, and none knows a route's
access rule or the errors that follow from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Any

from flask import Flask
from pydantic.json_schema import GenerateJsonSchema, models_json_schema
from pydantic_core.core_schema import StringSchema
from werkzeug.routing import Rule

from autostack.errors import (
    AutostackError,
    BadRequest,
    Forbidden,
    Invalid,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from autostack.web import access
from autostack.web.examples import REFERENCE, Json, example_of
from autostack.web.operations import Operation, operation_of
from autostack.web.schemas import ErrorOut, Schema

API = "/api/"
JSON = "application/json"
FOUND = HTTPStatus.FOUND.value
VERBS = ("GET", "POST", "PUT", "PATCH", "DELETE")
VARIABLE = re.compile(r"<(?:(\w+)[^:<>]*:)?([^<>]+)>")
# See `Schema`.
NO_NUL = r"^[^\x00]*$"
# What can happen to any request.
ALWAYS: tuple[type[AutostackError], ...] = (RateLimited, AutostackError, Unavailable)
DESCRIPTION = (
    "Everything that the dashboard does. Send `Authorization: Bearer <token>` with each request; a browser's session "
    "does as well, with its `X-CSRFToken` for whatever writes. Ids are UUIDs, times ISO 8601 in UTC. Every error has "
    "the same envelope: `error.code` is for programs, `error.message` for people, `error.details` names fields."
)


class _Described(GenerateJsonSchema):
    """JSON schemas as our models mean them: without titles that only repeat names, and with what all refuse."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def str_schema(self, schema: StringSchema) -> Json:
        described = super().str_schema(schema)
        if self.mode == "validation":
            described.setdefault("pattern", NO_NUL)
        return described


def document(app: Flask, version: str, server: str) -> Json:
    """Return the description of all operations that `app` has under `/api/`."""
    operations = list(declared_operations(app))
    schemas = _schemas([declared for _, _, declared in operations])
    paths: Json = {}
    for rule, verb, declared in operations:
        described = _describe(app.view_functions[rule.endpoint], rule, verb, declared, schemas)
        paths.setdefault(path_of(rule), {})[verb.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {"title": "Autostack API", "version": version, "description": DESCRIPTION},
        "servers": [{"url": server}],
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": _security_schemes(app)},
    }


def declared_operations(app: Flask) -> Iterator[tuple[Rule, str, Operation]]:
    """Yield the API's operations with rule and verb, in the order of their registration."""
    for rule in app.url_map.iter_rules():
        declared = operation_of(app.view_functions[rule.endpoint])
        if declared is not None:
            for verb in VERBS:
                if verb in (rule.methods or ()):
                    yield rule, verb, declared


def undeclared_routes(app: Flask) -> list[str]:
    """Return the routes under `/api/` that say nothing of what they take and answer."""
    return [
        rule.rule
        for rule in app.url_map.iter_rules()
        # OpenAPI knows no websockets.
        if rule.rule.startswith(API) and not rule.websocket and operation_of(app.view_functions[rule.endpoint]) is None
    ]


def path_of(rule: Rule) -> str:
    """Return a rule's path as OpenAPI writes it: `/api/deployments/{id}`."""
    return VARIABLE.sub(r"{\2}", rule.rule)


def errors_of(view: Callable[..., object], rule: Rule, verb: str, declared: Operation) -> list[type[AutostackError]]:
    """Return what an operation may end in: what it says itself, and what follows from how it is called."""
    found = list(declared.raises)
    if access.needs_sign_in(view):
        found += [Unauthorized, access.MissingScope]
        # A write with a browser's session may lack its token.
        found += [] if verb == "GET" else [BadRequest]
    if access.needs_superuser(view):
        found.append(Forbidden)
    if declared.body is not None:
        found += [BadRequest, PayloadTooLarge, UnsupportedMediaType, Invalid]
    if declared.query or declared.headers:
        found.append(Invalid)
    if rule.arguments:
        found.append(NotFound)
    return list(dict.fromkeys([*found, *ALWAYS]))


def _describe(view: Callable[..., object], rule: Rule, verb: str, declared: Operation, schemas: Json) -> Json:
    described: Json = {
        "operationId": rule.endpoint.replace("_api.", "."),
        "tags": [path_of(rule).split("/")[2]],
        "summary": declared.summary,
        "description": declared.description,
        "parameters": [*_path_parameters(rule), *_parameters(declared, schemas)],
        "responses": {str(declared.status): _success(declared, schemas)},
        "security": _security(view, verb),
    }
    if declared.body is not None:
        described["requestBody"] = {"required": True, "content": {JSON: _content(declared.body, schemas)}}
    if declared.redirects:
        described["responses"][str(FOUND)] = _redirect(FOUND)
    errors = errors_of(view, rule, verb, declared)
    for status in sorted({error.status for error in errors}):
        described["responses"][str(status)] = _failure([error for error in errors if error.status == status])
    return {name: value for name, value in described.items() if value != "" or name == "security"}


def _security(view: Callable[..., object], verb: str) -> list[Json]:
    # Of a personal access token, the scope.
    return [{"token": [access.needed_scope(view, verb)]}, {"session": []}] if access.needs_sign_in(view) else []


def _schemas(operations: list[Operation]) -> Json:
    taken = [(model, "validation") for one in operations for model in (one.body, one.query, one.headers) if model]
    answered = [(one.answer, "serialization") for one in operations if one.answer]
    wanted: list[Any] = list(dict.fromkeys([*taken, *answered, (ErrorOut, "serialization")]))
    _, made = models_json_schema(wanted, ref_template=f"{REFERENCE}{{model}}", schema_generator=_Described)
    return dict(sorted(made["$defs"].items()))


def _content(model: type[Schema], schemas: Json) -> Json:
    reference = {"$ref": f"{REFERENCE}{model.__name__}"}
    return {"schema": reference, "example": example_of(reference, schemas)}


def _success(declared: Operation, schemas: Json) -> Json:
    content: Json = {JSON: _content(declared.answer, schemas)} if declared.answer else {}
    content.update({name: {"schema": {"type": "string"}} for name in declared.media_types})
    is_elsewhere = declared.location is not None or declared.status == FOUND
    response = _redirect(declared.status) if is_elsewhere else _plain(declared.status)
    return {**response, "content": content} if content else response


def _plain(status: int) -> Json:
    return {"description": _phrase(status), "headers": _limit_headers()}


def _redirect(status: int) -> Json:
    location = {"schema": {"type": "string"}, "required": True}
    return {"description": _phrase(status), "headers": {**_limit_headers(), "Location": location}}


def _failure(errors: list[type[AutostackError]]) -> Json:
    example = {"code": errors[0].code, "message": _phrase(errors[0].status), "statusCode": errors[0].status}
    content = {"schema": {"$ref": f"{REFERENCE}ErrorOut"}, "example": {"error": {**example, "details": {}}}}
    codes = " or ".join(f"`{code}`" for code in dict.fromkeys(error.code for error in errors))
    failure: Json = {"description": codes, "content": {JSON: content}}
    limited = errors[0].status == RateLimited.status
    if limited or errors[0].status == Unavailable.status:
        wait = {"Retry-After": _header("Seconds to wait.", "integer")}
        failure["headers"] = {**_limit_headers(), **wait} if limited else wait
    return failure


def _limit_headers() -> Json:
    return {
        "RateLimit": _header('What is left: `"api";r=99;t=60`, `t` in seconds until it is whole again.'),
        "RateLimit-Policy": _header('The limit: `"api";q=100;w=60`, `w` in seconds.'),
    }


def _header(description: str, kind: str = "string") -> Json:
    return {"description": description, "schema": {"type": kind}}


def _path_parameters(rule: Rule) -> Iterator[Json]:
    for kind, name in VARIABLE.findall(rule.rule):
        schema = {"type": "string", "format": "uuid"} if kind == "uuid" else {"type": "string", "minLength": 1}
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _parameters(declared: Operation, schemas: Json) -> Iterator[Json]:
    for place, model in (("query", declared.query), ("header", declared.headers)):
        described = schemas[model.__name__] if model else {}
        for name, schema in described.get("properties", {}).items():
            yield {"name": name, "in": place, "required": name in described.get("required", ()), "schema": schema}


def _security_schemes(app: Flask) -> Json:
    return {
        "token": {
            "type": "http",
            "scheme": "bearer",
            "description": "An access token, or a personal one that has the scope.",
        },
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": app.config["SESSION_COOKIE_NAME"],
            "description": "A browser's session. Requests that write then need the header `X-CSRFToken`.",
        },
    }


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase
