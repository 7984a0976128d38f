"""What an operation of the API takes and answers, declared by its handler's own signature.

`body`, `query` and `headers` are read by their annotations, and what the handler returns is answered as its model, so
that `/api/openapi.json` (`web/openapi.py`) cannot say anything else than what happens. The docstring describes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, get_args, get_type_hints

from flask import Response, make_response, request, url_for

from autostack.errors import AutostackError
from autostack.web.schemas import Schema, answer, read_json

OPERATION_ATTRIBUTE = "_autostack_operation"
NO_CONTENT = 204

Decorated = TypeVar("Decorated", bound=Callable[..., Response])


@dataclass(frozen=True)
class Operation:
    """One operation: its models, the status of its success, and the errors of its own."""

    summary: str
    description: str
    status: int
    body: type[Schema] | None
    query: type[Schema] | None
    headers: type[Schema] | None
    answer: type[Schema] | None
    raises: tuple[type[AutostackError], ...]
    location: str | None
    media_types: tuple[str, ...]
    redirects: bool


def operation(
    *,
    status: int | None = None,
    raises: Sequence[type[AutostackError]] = (),
    location: str | None = None,
    media_types: Sequence[str] = (),
    redirects: bool = False,
) -> Callable[[Callable[..., object]], Callable[..., Response]]:
    """Declare a handler under `/api/`. It stands closest to the function, beneath access and limits.

    `raises` are the errors that only this operation has; those that follow from its access, body, path and limits are
    known. `location` is the endpoint of what was made, for the header of that name. A handler that returns a Response
    itself (a redirect, a file) gives its status, and its `media_types` if it has a body; one that `redirects` does so
    (302) as well as what else it answers.
    """

    def declare(view: Callable[..., object]) -> Callable[..., Response]:
        declared = _declaration(view, status, tuple(raises), location, tuple(media_types), redirects)

        @wraps(view)
        def handle(**path: Any) -> Response:
            if declared.body is not None:
                path["body"] = read_json(declared.body)
            if declared.query is not None:
                path["query"] = declared.query.parse(request.args)
            if declared.headers is not None:
                path["headers"] = declared.headers.parse(dict(request.headers))
            return _respond(declared, view(**path))

        setattr(handle, OPERATION_ATTRIBUTE, declared)
        return handle

    return declare


def operation_of(view: Callable[..., object]) -> Operation | None:
    """Return what a view was declared as."""
    return getattr(view, OPERATION_ATTRIBUTE, None)


def _declaration(
    view: Callable[..., object],
    status: int | None,
    raises: tuple[type[AutostackError], ...],
    location: str | None,
    media_types: tuple[str, ...],
    redirects: bool,
) -> Operation:
    hints = get_type_hints(view)
    returned = hints["return"]
    models = [kind for kind in get_args(returned) or (returned,) if isinstance(kind, type) and issubclass(kind, Schema)]
    summary, _, description = (view.__doc__ or "").strip().partition("\n")
    return Operation(
        summary=summary.strip().rstrip("."),
        description=" ".join(description.split()),
        status=status or (NO_CONTENT if returned is type(None) else 200),
        body=hints.get("body"),
        query=hints.get("query"),
        headers=hints.get("headers"),
        answer=models[0] if models else None,
        raises=raises,
        location=location,
        media_types=media_types,
        redirects=redirects,
    )


def _respond(declared: Operation, given: object) -> Response:
    if isinstance(given, Response):
        return given
    if not isinstance(given, Schema):
        return make_response("", declared.status)
    response = answer(given, declared.status)
    if declared.location is not None:
        response.location = url_for(declared.location, id=getattr(given, "id"))  # noqa: B009 - not every model has one
    return response
