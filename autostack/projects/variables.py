"""A project's build variables, changed one by one. The next deployment takes them; those before keep theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from autostack.encryption import Cipher
from autostack.errors import Invalid, NotFound
from autostack.extensions import db, settings
from autostack.projects import service
from autostack.projects.environment import parse_dotenv, read_variables
from autostack.projects.models import Project

log = structlog.stdlib.get_logger(__name__)


class VariableNotFound(NotFound):
    code = "VARIABLE_NOT_FOUND"


def put(project: Project, name: str, value: str) -> None:
    """Give a variable a value, beside the others. Raises Invalid naming the field."""
    _change(project, lambda stored: {**stored, name: value}, "name")


def put_all(project: Project, text: str) -> int:
    """Give each variable of `.env` text its value, beside the others; return how many those are. Raises Invalid."""
    try:
        given = parse_dotenv(text)
    except ValueError as error:
        raise Invalid.field("envVars", str(error)) from None
    if not given:
        raise Invalid.field("envVars", "There is no line of the form NAME=value.")
    _change(project, lambda stored: {**stored, **given}, "envVars")
    return len(given)


def remove(project: Project, name: str) -> None:
    """Forget a variable. There need not be one."""
    _change(project, lambda stored: {key: value for key, value in stored.items() if key != name}, "name")


def reveal(project: Project, name: str) -> str:
    """Return a variable's value, for its owner who asks for it. Raises VariableNotFound."""
    stored = service.variables_of(project)
    if name not in stored:
        raise VariableNotFound("There is no such variable.")
    log.info("variable shown to its owner", project_id=str(project.id), variable=name)
    return stored[name]


def _change(project: Project, change: Callable[[Mapping[str, str]], dict[str, str]], field: str) -> None:
    # The row is held meanwhile: another tab's change must not get lost.
    held = service.hold(project.id)
    if held is None:
        raise service.ProjectNotFound("The project was deleted meanwhile.")
    try:
        variables = read_variables(change(service.variables_of(held)))
    except ValueError as error:
        db.session.rollback()
        raise Invalid.field(field, str(error)) from None
    held.env_vars = Cipher.of(settings()).encrypt_mapping(variables)
    db.session.commit()
