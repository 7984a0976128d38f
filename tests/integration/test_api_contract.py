"""The API's description: every route is in it, with examples that are true to it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
from flask import Flask
from pydantic import Field

from autostack.accounts.service import EmailTaken
from autostack.deployments.status import StageStatus
from autostack.web.access import public, signed_in
from autostack.web.examples import NoExample, example_of
from autostack.web.openapi import document, undeclared_routes
from autostack.web.operations import operation
from autostack.web.schemas import Schema
from tests.people import Api

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class GreetingIn(Schema):
    name: str = Field(min_length=1, examples=["Ada"])


class GreetingOut(Schema):
    id: uuid.UUID
    text: str = Field(examples=["Hello, Ada"])


class Unexplained(Schema):
    text: str


@public
@operation(status=201, location="greet", raises=[EmailTaken])
def greet(body: GreetingIn) -> GreetingOut:
    """Greet somebody.

    With words.
    """
    return GreetingOut(id=uuid.UUID(int=7), text=f"Hello, {body.name}")


def described(app: Flask) -> dict[str, Any]:
    with app.app_context():
        return document(app, "1.0", "https://autostack.example.com")


def with_route(**options: Any) -> Flask:
    app = Flask("other")
    app.add_url_rule(**options)
    return app


def operations(app: Flask) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, verbs in described(app)["paths"].items():
        for verb, found in verbs.items():
            yield f"{verb} {path}", found


def test_every_route_of_the_api_is_declared(app: Flask) -> None:
    assert undeclared_routes(app) == []


def test_a_route_that_is_not_is_found() -> None:
    app = with_route(rule="/api/forgotten", view_func=lambda: "")
    assert undeclared_routes(app) == ["/api/forgotten"]


def test_the_description_is_served_to_anybody(nobodys_api: Api, app: Flask) -> None:
    answered = nobodys_api.get("/api/openapi.json")
    assert (answered.status_code, answered.mimetype) == (200, "application/json")
    assert answered.json["openapi"].startswith("3.1.")
    assert "/api/deployments/{id}" in answered.json["paths"]


def test_every_operation_has_a_summary_an_id_and_examples(app: Flask) -> None:
    names = []
    for name, found in operations(app):
        assert found.get("summary"), name
        names.append(found["operationId"])
        bodies = [found["requestBody"]] if "requestBody" in found else []
        for body in [*bodies, *found["responses"].values()]:
            content = body.get("content", {}).get("application/json")
            assert content is None or "example" in content or name == "get /api/openapi.json", name
    assert len(set(names)) == len(names)


def test_every_example_is_as_its_schema_says(app: Flask) -> None:
    schemas = described(app)["components"]["schemas"]
    for name in schemas:
        schema = {"$schema": DIALECT, "$ref": f"#/components/schemas/{name}", "components": {"schemas": schemas}}
        jsonschema_rs.validator_for(schema).validate(example_of(schemas[name], schemas))


def test_the_example_of_a_stage_is_in_a_state_that_a_stage_can_have(app: Flask) -> None:
    schemas = described(app)["components"]["schemas"]
    assert example_of(schemas["StageOut"], schemas)["status"] in list(StageStatus)


def test_an_operation_reads_and_answers_what_it_is_declared_to() -> None:
    app = with_route(rule="/api/greetings", view_func=greet, endpoint="greet", methods=["POST"])
    answered = app.test_client().post("/api/greetings", json={"name": " Ada "})
    assert (answered.status_code, answered.json["text"]) == (201, "Hello, Ada")
    assert answered.location.startswith("/api/greetings?id=00000000")
    found = described(app)["paths"]["/api/greetings"]["post"]
    assert (found["summary"], found["description"], found["security"]) == ("Greet somebody", "With words.", [])
    assert found["requestBody"]["content"]["application/json"]["example"] == {"name": "Ada"}
    assert set(found["responses"]) == {"201", "400", "409", "413", "415", "422", "429", "500", "503"}
    assert "`EMAIL_TAKEN`" in found["responses"]["409"]["description"]


def test_what_follows_from_access_and_path_is_described_too() -> None:
    view = signed_in(operation()(lookup))
    app = with_route(rule="/api/greetings/<uuid:id>", view_func=view, methods=["DELETE"])
    found = described(app)["paths"]["/api/greetings/{id}"]["delete"]
    assert set(found["responses"]) == {"204", "400", "401", "403", "404", "429", "500", "503"}
    assert found["security"] == [{"token": ["deploy"]}, {"session": []}]
    assert found["parameters"][0]["schema"] == {"type": "string", "format": "uuid"}


def test_a_field_without_an_example_is_refused() -> None:
    app = with_route(rule="/api/unexplained", view_func=public(operation()(unexplained)))
    with pytest.raises(NoExample, match=r"Unexplained\.text"):
        described(app)


def lookup(id: uuid.UUID) -> None:
    """Forget a greeting."""


def unexplained() -> Unexplained:
    """Say something."""
    return Unexplained(text="")
