"""The wizard as a tab of a browser goes through it, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bs4 import BeautifulSoup
from flask import Flask
from sqlalchemy import func, select
from werkzeug.test import TestResponse

from autostack.deployments.models import Deployment
from autostack.extensions import db
from autostack.projects import service as projects
from autostack.projects.models import Project
from tests.pages import parsed, text_of
from tests.people import Browser

SECRET = "sk-live-0123456789"


@dataclass
class Tab:
    """One tab of a browser, at one draft."""

    browser: Browser
    path: str

    def get(self, page: str = "configure") -> BeautifulSoup:
        return parsed(self.browser.get(f"{self.path}/{page}"))

    def send(self, form: dict[str, Any] | None = None, page: str = "configure") -> TestResponse:
        """Press the page's button; that of the last page says what was shown on it."""
        shown = {"version": self.version()} if page == "confirm" else {}
        return self.browser.post(f"{self.path}/{page}", {**shown, **(form or {})})

    def version(self) -> str:
        """Return what the last page says of what it shows, if there is anything to confirm."""
        mark = BeautifulSoup(self.browser.get(f"{self.path}/confirm").text, "html.parser").select_one("[name=version]")
        return str(mark["value"]) if mark else ""

    def row_ids(self) -> dict[str, str]:
        """Return the ids of the table's rows by name."""
        rows = self.get().select(".variable-rows .variable")
        return {
            str(row.select_one("[name=envName]")["value"]): str(row.select_one("[name=envRow]")["value"])  # type: ignore[index]
            for row in rows
        }


def begin(browser: Browser, **chosen: str) -> Tab:
    """Go through the first page."""
    answered = browser.post("/deploy", chosen)
    assert answered.status_code == 303, answered.text
    assert answered.location.endswith("/configure")
    return Tab(browser, answered.location.removesuffix("/configure"))


def table(*rows: tuple[str, str, str]) -> dict[str, list[str]]:
    """Return what a table of variables sends: ids, names and values."""
    ids, names, values = zip(*rows, strict=True)
    return {"envRow": list(ids), "envName": list(names), "envValue": list(values), "envShown": [id for id in ids if id]}


def problem(answered: TestResponse, field: str) -> str:
    """Return what is said at a field."""
    assert answered.status_code == 422, answered.text[:2000]
    page = BeautifulSoup(answered.text, "html.parser")
    if field == "envVars":
        return text_of(page, ".variables > .field-error")
    assert page.select_one(f"#{field}")["aria-invalid"] == "true"  # type: ignore[index]
    return text_of(page, f"#{field}-error")


def stored(app: Flask, kind: type[Any] = Deployment) -> Any:
    with app.app_context():
        return db.session.scalars(select(kind)).one()


def count(app: Flask, kind: type[Any]) -> int:
    with app.app_context():
        return db.session.scalar(select(func.count()).select_from(kind)) or 0


def variables(app: Flask) -> dict[str, str]:
    with app.app_context():
        return projects.variables_of(db.session.scalars(select(Project)).one())
