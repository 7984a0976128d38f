"""Examples of whole bodies, put together from the examples that each field of a model has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]

REFERENCE = "#/components/schemas/"
BY_FORMAT = {"uuid": "0f8b6c1e-2f4d-4c8a-9b57-3d2f1c0a7e64", "date-time": "2025-01-20T10:30:00.000Z"}
BY_TYPE: Mapping[str, Any] = {"boolean": True, "null": None}


class NoExample(LookupError):
    """A field has neither an example nor anything that one could be made of."""


def example_of(schema: Json, schemas: Json, where: str = "") -> Any:
    """Return an example of a JSON schema. `schemas` are those that it may refer to. Raises NoExample."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return example_of(schemas[name], schemas, name)
    for given in (schema.get("examples"), schema.get("enum"), [schema["const"]] if "const" in schema else None):
        if given:
            return given[0]
    if "anyOf" in schema:
        return example_of(schema["anyOf"][0], schemas, where)
    return _example_by_type(schema, schemas, where)


def _example_by_type(schema: Json, schemas: Json, where: str) -> Any:
    kind = schema.get("type", "")
    if kind == "object":
        fields: Json = schema.get("properties", {})
        made = {name: example_of(field, schemas, f"{where}.{name}") for name, field in fields.items()}
        # One is shown without what is usually left out.
        return {name: value for name, value in made.items() if value is not None or name in schema.get("required", ())}
    if kind == "array":
        return [example_of(schema["items"], schemas, where)]
    if schema.get("format") in BY_FORMAT:
        return BY_FORMAT[schema["format"]]
    if kind in BY_TYPE:
        return BY_TYPE[kind]
    if schema.get("default") is not None:
        return schema["default"]
    raise NoExample(where)
