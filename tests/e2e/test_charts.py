"""Charts in Chromium: drawn from their tables, in the theme's colours, and tables alone without a script."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.git_server import GitServer, make_repository
from tests.stack import PASSWORD, Stack

EMAIL = "charts@example.com"
# The colours that a canvas is painted in, as red, green and blue.
COLOURS = """canvas => {
    const {width, height} = canvas;
    const copy = new OffscreenCanvas(width, height).getContext("2d", {willReadFrequently: true});
    copy.drawImage(canvas, 0, 0);
    const {data} = copy.getImageData(0, 0, width, height);
    const seen = new Set();
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) seen.add(data.slice(at, at + 3).join());
    return [...seen];
}"""
PIE_HAS = f"colour => ({COLOURS})(document.querySelector('canvas[data-chart=pie]')).includes(colour)"


@pytest.fixture(scope="module")
def deployed(stack: Stack, git: GitServer, folder: Path) -> None:
    make_repository(folder / "charted", {"index.html": "<h1>hi</h1>"})
    stack.sign_up(EMAIL)
    assert stack.ended(stack.deploy(git.url("charted")))["status"] == "success"


@pytest.fixture(params=[True, False], ids=["scripts", "no scripts"])
def tab(request: pytest.FixtureRequest, chromium: Browser, stack: Stack, deployed: None) -> Iterator[Page]:
    """A signed-in tab of somebody who wants no motion, with and without scripts."""
    base = f"http://localhost:{stack.port}"
    context = chromium.new_context(
        base_url=base, java_script_enabled=request.param, reduced_motion="reduce", color_scheme="light"
    )
    page = context.new_page()
    page.goto("/login")
    page.locator("[name=email]").fill(EMAIL)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("main form button[type=submit]").click()
    page.wait_for_url("**/dashboard")
    yield page
    context.close()


@pytest.mark.parametrize("tab", [True], indirect=True)
def test_charts_are_drawn_and_drawn_anew_in_the_other_theme(tab: Page) -> None:
    complaints: list[str] = []
    tab.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.goto("/analytics/success")
    pie = tab.locator("canvas[data-chart=pie]")
    green_of_light, green_of_dark = "18,112,58", "79,216,139"
    expect(pie).to_be_visible()
    tab.wait_for_function(PIE_HAS, arg=green_of_light)
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")
    tab.wait_for_function(PIE_HAS, arg=green_of_dark)
    assert green_of_light not in pie.evaluate(COLOURS)
    assert complaints == []


@pytest.mark.parametrize("tab", [True], indirect=True)
def test_a_charts_table_opens_beneath_it_and_is_read_aloud_in_any_case(tab: Page) -> None:
    tab.goto("/analytics")
    table = tab.get_by_role("table", name="Deployments a day")
    button = tab.get_by_role("button", name="Table").first
    expect(table.get_by_role("row")).to_have_count(43)
    assert table.locator("xpath=..").evaluate("element => element.clientWidth") == 1
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    assert table.locator("xpath=..").evaluate("element => element.clientWidth") > 300


@pytest.mark.parametrize("tab", [False], indirect=True)
def test_without_scripts_there_are_tables(tab: Page) -> None:
    tab.goto("/analytics/success")
    expect(tab.get_by_role("table", name="How deployments ended").get_by_role("row")).to_have_count(4)
    assert tab.locator("canvas").count() == 2
    expect(tab.locator("canvas").first).to_be_hidden()
    expect(tab.get_by_role("button", name="Table")).to_have_count(0)


@pytest.mark.parametrize("tab", [True], indirect=True)
def test_the_status_page_looks_again_every_three_seconds(tab: Page) -> None:
    tab.goto("/status")
    expect(tab.get_by_role("heading", name="Status", exact=True)).to_be_visible()
    # Nothing is sent again while nothing changes; another test's deployments may do so once.
    for _ in range(2):
        with tab.expect_response(lambda answer: "/status/_board?seen=" in answer.url and answer.status == 204):
            pass
    expect(tab.locator("#board")).to_have_count(1)
