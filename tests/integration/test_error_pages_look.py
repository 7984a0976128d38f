"""The pages of what goes wrong, reached as people reach them, on a desk and on a phone, light and dark."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from werkzeug.serving import make_server

from autostack.web.access import public
from tests.clean import WIDTHS, expect_clean, watch
from tests.conftest import AppMaker
from tests.people import Person


@public
def breaks() -> str:
    raise RuntimeError("as no page of ours should")


@pytest.fixture
def address(make_app: AppMaker, alice: Person) -> Iterator[str]:
    """An installation that lets nobody try a password twice, and has a page that breaks."""
    app = make_app(rate_limit_auth="1/hour")
    app.add_url_rule("/breaks", view_func=breaks)
    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def log_in(page: Page, person: Person) -> None:
    page.goto("/login")
    page.locator("[name=email]").fill(person.email)
    page.locator("[name=password]").fill(person.password)
    page.locator("main form button[type=submit]").click()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_goes_wrong_is_told_on_a_page_that_fits_and_leads_on(
    theme: str, chromium: Browser, address: str, alice: Person
) -> None:
    context = chromium.new_context(base_url=address, color_scheme=theme)  # type: ignore[arg-type]
    page = context.new_page()
    page.set_viewport_size({"width": WIDTHS[theme][0], "height": 844})

    def expect_problem(status: int, way: str) -> None:
        expect(page.locator(".error-status")).to_have_text(str(status))
        expect(page.get_by_role("link", name=way)).to_be_visible()
        expect_clean(page, theme)

    seen = watch(page)
    page.goto("/nowhere")
    expect_problem(404, "Log in")
    page.goto("/breaks")
    expect_problem(500, "Try again")
    log_in(page, alice)
    page.wait_for_url("**/dashboard")
    page.goto("/admin/users")
    expect_problem(403, "Dashboard")
    context.clear_cookies()
    log_in(page, alice)
    expect_problem(429, "Back to the form")
    # The browser itself says of each that it failed; nothing else is to be said.
    assert [text for text in seen.complaints if "Failed to load resource" not in text] == []
    assert seen.hosts == {address.removeprefix("http://")}
    context.close()
