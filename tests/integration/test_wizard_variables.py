"""The table of environment variables in the wizard: typed, pasted, kept encrypted."""

from __future__ import annotations

import json

from flask import Flask
from sqlalchemy import select, text

from autostack.deployments.models import DeploymentDraft
from autostack.encryption import Cipher
from autostack.extensions import db, settings
from tests.pages import text_of
from tests.people import Browser
from tests.wizard import SECRET, begin, problem, stored, table, variables


def test_rows_are_added_pasted_and_removed_by_buttons(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    typed = {"branch": "next", "buildCommand": "make"}
    answered = tab.send({**typed, **table(("", "A", "1"))}, "variables")
    assert answered.location == f"{tab.path}/configure#variables"
    ids = tab.row_ids()
    assert list(ids) == ["A", ""]
    tab.send({**typed, **table((ids["A"], "A", "")), "pasted": "B='two words'\nA=changed\n# note"}, "variables")
    ids = tab.row_ids()
    assert set(ids) == {"A", "B", ""}
    kept = table((ids["A"], "A", ""), (ids["B"], "B", ""))
    tab.send({**typed, **kept}, f"variables/{ids['A']}/remove")
    assert set(tab.row_ids()) == {"B", ""}
    assert tab.get().select("#buildCommand")[0]["value"] == "make"
    tab.send({**typed, **table((ids["B"], "RENAMED", ""))})
    tab.send(page="confirm")
    assert variables(app) == {"RENAMED": "two words"}


def test_a_value_stays_with_its_row_whatever_another_tab_does(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    tab.send({"branch": "main", **table(("", "A", "of a"), ("", "B", "of b"))})
    ids = tab.row_ids()
    tab.send(table((ids["B"], "B", "")), f"variables/{ids['A']}/remove")
    # The other tab was loaded before, and still has both.
    tab.send({"branch": "main", **table((ids["A"], "A", ""), (ids["B"], "B", ""))})
    tab.send(page="confirm")
    assert variables(app) == {"B": "of b"}


def test_a_row_that_a_tab_never_knew_is_not_its_to_remove(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    tab.send({"branch": "main", **table(("", "OF_A", "kept"))})
    # The other tab was loaded before, with an empty table.
    tab.send({"branch": "main", **table(("", "OF_B", "new"))})
    assert set(tab.row_ids()) == {"OF_A", "OF_B", ""}
    # What a page shows and does not send was removed on it.
    shown = [str(mark["value"]) for mark in tab.get().select("[name=envShown]")]
    tab.send({"branch": "main", **table((tab.row_ids()["OF_B"], "OF_B", "")), "envShown": shown})
    tab.send(page="confirm")
    assert variables(app) == {"OF_B": "new"}


def test_a_variable_becomes_empty_by_pasting_its_name_alone(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    tab.send({"branch": "main", **table(("", "KEY", "a value"))})
    assert "NAME= in a pasted .env file empties it" in text_of(tab.get(), "#variables > .field-hint")
    tab.send({"branch": "main", **table((tab.row_ids()["KEY"], "KEY", "")), "pasted": "KEY="})
    tab.send(page="confirm")
    assert variables(app) == {"KEY": ""}


def test_too_many_variables_cost_nothing_else_that_was_typed(browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    many = "\n".join(f"KEY_{number}=1" for number in range(200))
    refused = tab.send({"branch": "main", "buildCommand": "make it", "pasted": many})
    assert "At most 100 variables" in problem(refused, "envVars")
    assert tab.get().select("#buildCommand")[0]["value"] == "make it"


def test_pasted_text_that_is_wrong_costs_nothing_else(browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    answered = tab.send({"branch": "next", "pasted": "nonsense", **table(("", "KEY", SECRET))}, "variables")
    assert "Line 1" in problem(answered, "pasted")
    assert "nonsense" in answered.text
    assert SECRET not in answered.text
    assert set(tab.row_ids()) == {"KEY", ""}


def test_secrets_are_stored_encrypted_and_only_until_they_are_deployed(app: Flask, browser: Browser, site: str) -> None:
    tab = begin(browser, repository=site)
    tab.send({"branch": "main", **table(("", "KEY", SECRET))})
    with app.app_context():
        row = str(db.session.scalar(text("SELECT d::text FROM deployment_drafts d")))
        assert SECRET not in row
        kept = db.session.scalar(select(DeploymentDraft.variables))
        assert json.loads(Cipher.of(settings()).decrypt(str(kept)))[0]["value"] == SECRET
    tab.send(page="confirm")
    assert stored(app, DeploymentDraft).variables is None
