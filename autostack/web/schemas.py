"""What request and response models share: camelCase names, times with `Z`, and one way to read a body."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Self, TypeVar

from flask import Response, request
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from autostack.errors import BadRequest, Invalid, UnsupportedMediaType
from autostack.paging import Page
from autostack.web.times import iso

Time = Annotated[
    datetime,
    PlainSerializer(iso, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}, mode="serialization"),
]


def _whole(value: Any) -> Any:
    # JSON knows no difference between 90 and 90.0.
    return int(value) if isinstance(value, float) and value.is_integer() else value


# For integers in bodies, within `Annotated` after what else is said of them.
WHOLE = BeforeValidator(_whole)


class Schema(BaseModel):
    """Base of every request and response model. Unknown keys are ignored; names are camelCase outside."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        str_strip_whitespace=True,
        frozen=True,
        # Errors are logged, and what does not fit may be a secret all the same.
        hide_input_in_errors=True,
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_nul(cls, data: Any) -> Any:
        # PostgreSQL's text cannot hold it, so no field may.
        if isinstance(data, Mapping) and any(isinstance(value, str) and "\0" in value for value in data.values()):
            raise ValueError("must not contain NUL characters")
        return data

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Return the model for a body or a form. Raises Invalid, whose details name each field that is wrong."""
        try:
            return cls.model_validate(dict(data.items()))
        except ValidationError as error:
            raise _invalid(error) from None

    @classmethod
    def parse_json(cls, body: bytes) -> Self:
        """Return the model for a JSON object whose values have exactly the types that the model names.

        Raises BadRequest for what is no JSON object, Invalid for fields.
        """
        try:
            return cls.model_validate_json(body, strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid":
                raise BadRequest(f"The body is no JSON. {first['msg']}.") from None
            if first["type"] == "model_type":
                raise BadRequest("The body must be a JSON object.") from None
            raise _invalid(error) from None

    def as_json(self) -> dict[str, Any]:
        """Return what the API answers with."""
        return self.model_dump(mode="json", by_alias=True)


class PaginationOut(Schema):
    """Where in a list a page stands. Pages count from 1."""

    current_page: int = Field(examples=[1])
    total_pages: int = Field(examples=[3])
    total_items: int = Field(examples=[27])

    @classmethod
    def of(cls, page: Page[Any]) -> PaginationOut:
        return cls(current_page=page.number, total_pages=page.total_pages, total_items=page.total_items)


class ErrorBodyOut(Schema):
    """`details` names the fields that were wrong, where it was fields."""

    code: str = Field(examples=["VALIDATION_ERROR"])
    message: str = Field(examples=["email: is required"])
    status_code: int = Field(examples=[422])
    details: dict[str, Any] = Field(examples=[{"email": "is required"}])


class ErrorOut(Schema):
    """What every error is answered with."""

    error: ErrorBodyOut


Model = TypeVar("Model", bound=Schema)


def read_json(model: type[Model]) -> Model:
    """Return the request's JSON object as `model`.

    Raises UnsupportedMediaType, werkzeug's RequestEntityTooLarge (413), BadRequest for what is no JSON object, Invalid
    for fields.
    """
    if not request.is_json:
        raise UnsupportedMediaType("The body must be JSON, sent with Content-Type: application/json.")
    return model.parse_json(request.get_data())


def _invalid(error: ValidationError) -> Invalid:
    """Return pydantic's complaints as field → sentence, the fields named as the client names them."""
    details = {".".join(map(str, item["loc"])) or "body": _sentence(item["msg"]) for item in error.errors()}
    return Invalid("; ".join(f"{field}: {problem}" for field, problem in details.items()), details)


def _sentence(message: str) -> str:
    return message.removeprefix("Value error, ")


def answer(schema: Schema, status: int = 200) -> Response:
    """Return `schema` as a JSON response."""
    return answer_json(schema.model_dump_json(by_alias=True).encode(), status)


def answer_json(json: bytes, status: int = 200) -> Response:
    """Return a schema's JSON as a response."""
    return Response(json + b"\n", status, mimetype="application/json")
