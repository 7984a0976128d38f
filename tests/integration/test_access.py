"""Every route declares who may call it."""

from __future__ import annotations

import pytest
from flask import Flask

from autostack.web import access


def test_an_undeclared_route_keeps_the_application_from_starting() -> None:
    app = Flask("open")
    app.add_url_rule("/forgotten", view_func=lambda: "")
    with pytest.raises(RuntimeError, match="/forgotten"):
        access.enforce(app)


def test_a_declared_route_does_not() -> None:
    app = Flask("declared")
    app.add_url_rule("/known", view_func=access.public(lambda: ""))
    access.enforce(app)


def test_an_unknown_path_is_not_found_rather_than_forbidden(client: object, nobodys_api: object) -> None:
    assert client.post("/nowhere").status_code == 404  # type: ignore[attr-defined]
    answered = nobodys_api.post("/api/nowhere")  # type: ignore[attr-defined]
    assert (answered.status_code, answered.json["error"]["code"]) == (404, "NOT_FOUND")
