"""Each page on a desk and on a phone, light and dark: no error, no other host, nothing wider than the screen."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.git_server import GitServer, make_repository
from tests.stack import PASSWORD, Stack

EMAIL = "visitor@example.com"
PUBLIC = {
    "login": "/login",
    "signup": "/signup",
    "api": "/docs/api",
    "forgotten": "/forgot-password",
    "reset": "/reset-password?token=secret",
    "verify": "/verify-email?token=secret",
}
# A name without a place to break, as repositories have them.
LONG_NAME = "a-repository-with-a-name-of-sixty-characters-as-some-people-do"
BROKEN = {"package.json": '{"name": "broken", "scripts": {"build": "exit 3"}}', "package-lock.json": "{}"}
SETTINGS = {
    "account": "/settings/account",
    "connections": "/settings/connections",
    "sessions": "/settings/sessions",
    "tokens": "/settings/tokens",
}
ADMINS = {"users": "/admin/users", "everybody's": "/admin/deployments"}
NAMES = [
    *PUBLIC,
    *SETTINGS,
    *ADMINS,
    "projects",
    "project",
    "settings",
    "new project",
    "new",
    "deployments",
    "deployment",
    "failed",
]


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
    project = f"/projects/{good['projectId']}"
    return {
        **PUBLIC,
        **SETTINGS,
        **ADMINS,
        "projects": "/projects",
        "project": project,
        "settings": f"{project}/settings",
        "new project": "/projects/new",
        "new": "/deploy",
        "deployments": "/deployments",
        "deployment": f"/deployments/{good['id']}",
        "failed": f"/deployments/{bad['id']}",
    }


@pytest.fixture(scope="module", params=["light", "dark"])
def visitor(request: pytest.FixtureRequest, chromium: Browser, stack: Stack, paths: dict[str, str]) -> Iterator[Page]:
    """A signed-in tab of somebody whose system is light or dark."""
    base = f"http://localhost:{stack.port}"
    context = chromium.new_context(base_url=base, color_scheme=request.param)
    page = context.new_page()
    page.goto("/login")
    page.locator("[name=email]").fill(EMAIL)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("main form button[type=submit]").click()
    page.wait_for_url("**/projects")
    yield page
    context.close()


@pytest.fixture
def theme(visitor: Page) -> str:
    return str(visitor.evaluate("matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'"))


def luminance(page: Page) -> float:
    """Return how bright the page's ground is, from 0 to 255."""
    script = """() => {
        const canvas = document.createElement("canvas").getContext("2d");
        canvas.fillStyle = getComputedStyle(document.body).backgroundColor;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).reduce((sum, value) => sum + value) / 3;
    }"""
    return float(page.evaluate(script))


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_fits_and_is_clean(
    name: str, width: int, visitor: Page, theme: str, paths: dict[str, str], stack: Stack, chromium: Browser
):
    # Who is signed in is sent on from the pages for signing in.
    context = chromium.new_context(base_url=f"http://localhost:{stack.port}", color_scheme=theme)  # type: ignore[arg-type]
    if name not in PUBLIC:
        context.add_cookies(visitor.context.cookies())  # type: ignore[arg-type]
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 844})
    complaints: list[str] = []
    hosts: set[str] = set()
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.on("websocket", lambda socket: hosts.add(urlsplit(socket.url).netloc))

    page.goto(paths[name], wait_until="networkidle")

    expect(page).to_have_url(f"http://localhost:{stack.port}{paths[name]}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert (luminance(page) < 128) == (theme == "dark")
    assert complaints == []
    assert hosts == {f"localhost:{stack.port}"}
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
