"""Each page on a desk and on a phone, light and dark: no error, no other host, nothing wider than the screen, and
nothing that keeps anybody from using it, as far as axe can tell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.clean import WIDTHS, expect_clean, transferred, watch
from tests.every_page import PUBLIC, SIGNED_IN, every_path, sign_in, stay
from tests.git_server import GitServer, make_repository
from tests.stack import Stack

EMAIL = "visitor@example.com"
# What a page may weigh for who comes for the first time, with gzip.
HEAVIEST_B = 120_000
# A name without a place to break, as repositories have them.
LONG_NAME = "a-repository-with-a-name-of-sixty-characters-as-some-people-do"
# Chapters of the documentation: axe looks at the longest for half a minute.
LONG_READS = {"serving", "configuration", "isolation", "aws", "architecture", "api"}
PAGES = [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG_READS)) for name in (*PUBLIC, *SIGNED_IN)]
BROKEN = {"package.json": '{"name": "broken", "scripts": {"build": "exit 3"}}', "package-lock.json": "{}"}


@pytest.fixture(scope="module")
def paths(stack: Stack, git: GitServer, folder: Path) -> dict[str, str]:
    """The address of each page, of somebody who has deployed well and badly."""
    make_repository(folder / LONG_NAME, {"index.html": "<h1>hi</h1>"})
    make_repository(folder / "broken", BROKEN)
    stack.sign_up(EMAIL)
    command = [str(Path(sys.executable).with_name("autostack")), "users", "--data-dir", str(stack.data_dir)]
    subprocess.run([*command, "promote", EMAIL], check=True)
    good = stack.ended(stack.deploy(git.url(LONG_NAME)))
    bad = stack.ended(stack.deploy(git.url("broken"), installCommand=""))
    assert (good["status"], bad["status"]) == ("success", "failed")
    started = stack.begin_draft(EMAIL, git.url("broken"), started=True)
    stack.ended(stack.call("GET", "/api/deployments?limit=1")["deployments"][0])
    return every_path(good, bad, stack.begin_draft(EMAIL, git.url(LONG_NAME)), started)


@pytest.fixture(scope="module", params=["light", pytest.param("dark", marks=pytest.mark.slow)])
def visitor(request: pytest.FixtureRequest, chromium: Browser, stack: Stack, paths: dict[str, str]) -> Iterator[Page]:
    """A signed-in tab of somebody whose system is light or dark."""
    base = f"http://localhost:{stack.port}"
    context = chromium.new_context(base_url=base, color_scheme=request.param)
    page = context.new_page()
    sign_in(page, EMAIL)
    yield page
    context.close()


@pytest.fixture
def theme(visitor: Page) -> str:
    return str(visitor.evaluate("matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'"))


@pytest.mark.parametrize("name", PAGES)
def test_a_page_fits_and_is_clean(
    name: str, visitor: Page, theme: str, paths: dict[str, str], stack: Stack, chromium: Browser
):
    # Who is signed in is sent on from the pages for signing in.
    context = chromium.new_context(
        base_url=f"http://localhost:{stack.port}",
        color_scheme=theme,  # type: ignore[arg-type]
        extra_http_headers={"Accept-Encoding": "gzip"},
    )
    if name not in PUBLIC:
        context.add_cookies(visitor.context.cookies())  # type: ignore[arg-type]
    page = context.new_page()
    if name == "started":
        stay(page)
    seen = watch(page)
    page.set_viewport_size({"width": WIDTHS[theme][0], "height": 844})
    page.goto(paths[name], wait_until="networkidle")
    expect(page).to_have_url(f"http://localhost:{stack.port}{paths[name]}")
    assert transferred(page) <= HEAVIEST_B
    expect_clean(page, theme)
    assert seen.complaints == []
    assert seen.hosts == {f"localhost:{stack.port}"}
    context.close()


@pytest.mark.parametrize("name", ["login", "project"])
def test_what_is_smuggled_into_a_page_does_not_run(
    name: str, visitor: Page, paths: dict[str, str], stack: Stack
) -> None:
    visitor.goto(paths[name])
    script = f"http://localhost:{stack.port}/static/app.js?smuggled"
    blocked = visitor.evaluate(
        """async (address) => {
            const blocked = [];
            document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
            const add = (name, more) => document.body.append(Object.assign(document.createElement(name), more));
            add("script", {textContent: "window.ran = true"});
            add("script", {src: address, onload: () => (window.ran = true)});
            document.body.insertAdjacentHTML("beforeend", '<img src="data:," onerror="window.ran = true">');
            document.body.insertAdjacentHTML("beforeend", '<p style="color: red">');
            add("iframe", {src: "/login"});
            add("img", {src: "http://192.0.2.1/beacon"});
            while (new Set(blocked).size < 5) await new Promise((resume) => setTimeout(resume, 10));
            return [...new Set(blocked)].sort();
        }""",
        script,
    )
    assert visitor.evaluate("window.ran") is None
    assert blocked == ["frame-src", "img-src", "script-src-attr", "script-src-elem", "style-src-attr"]
