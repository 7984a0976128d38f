"""The page that describes the API: made from the description itself, for anybody, with nothing from elsewhere."""

from __future__ import annotations

import re

from flask import Flask

from autostack.web.templating import code_spans
from tests.people import Api, Browser


def test_every_operation_is_on_the_page(nobodys_api: Api, nobodys_browser: Browser) -> None:
    page = nobodys_browser.get("/docs/api")
    assert page.status_code == 200
    for path, verbs in nobodys_api.get("/api/openapi.json").json["paths"].items():
        assert f"<code>{path}</code>" in page.text
        for found in verbs.values():
            anchor = found["operationId"].replace(".", "-")
            assert f'id="{anchor}"' in page.text
            assert f'href="#{anchor}"' in page.text


def test_an_operation_shows_its_fields_a_command_to_copy_and_its_errors(nobodys_browser: Browser) -> None:
    text = nobodys_browser.get("/docs/api").text
    start = text.index('id="accounts-sign_up"')
    shown = text[start : text.index("</section>", start)]
    assert "<code>password</code>" in shown
    assert "curl -X POST http://localhost:8000/api/auth/signup" in shown
    assert "EMAIL_TAKEN" in shown
    assert "For anybody." in shown


def test_the_scope_of_a_token_is_told(nobodys_browser: Browser) -> None:
    text = nobodys_browser.get("/docs/api").text
    start = text.index('id="deployments-create"')
    assert "<code>deploy</code>" in text[start : text.index("</section>", start)]


def test_the_page_asks_no_other_host_for_anything(nobodys_browser: Browser) -> None:
    text = nobodys_browser.get("/docs/api").text
    assert re.findall(r'(?:src|href)="(?:https?:)?//[^"]*"', text) == []


def test_it_can_be_found_from_every_page(browser: Browser) -> None:
    assert 'href="/docs"' in browser.get("/projects").text
    assert 'href="/docs/api"' in browser.get("/docs").text


def test_code_in_a_sentence_is_shown_as_code_and_all_else_as_text(app: Flask) -> None:
    assert code_spans("Send `<b>` & go") == "Send <code>&lt;b&gt;</code> &amp; go"
