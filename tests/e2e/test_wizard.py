"""The wizard in Chromium: a private repository chosen from GitHub's list, and any address without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

from tests.git_server import GitServer, make_repository
from tests.oauth import registered_with
from tests.peers.github import GitHubPeer, PeerRepository, running_github
from tests.peers.google import running_google
from tests.stack import PASSWORD, Stack, running_stack

FILES = {"index.html": "<h1 id=marker>private</h1>"}
LIST = re.compile(r"/deployments\?new=([0-9a-f-]{36})$")


@pytest.fixture(scope="module")
def github(folder: Path, git: GitServer) -> Iterator[GitHubPeer]:
    """GitHub, with a private repository beside others."""
    make_repository(folder / "octo" / "diary", FILES)
    with running_github() as peer:
        peer.git_url = f"http://{git.host}"
        files = {("main", name): text.encode() for name, text in FILES.items()}
        diary = PeerRepository(1, "octo/diary", private=True, files=files, readers=frozenset({"octo"}))
        peer.repositories = [diary, *(PeerRepository(n, f"octo/old-{n}") for n in range(2, 9))]
        yield peer


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, github: GitHubPeer) -> Iterator[Stack]:
    """The whole product, registered with GitHub."""
    with running_google() as google:
        known = registered_with(github, google)
        with running_stack(
            tmp_path_factory.mktemp("wizard"), env={name.upper(): value for name, value in known.items()}
        ) as running:
            yield running


def signed_in(context: BrowserContext, stack: Stack, email: str) -> Page:
    """Open a tab of somebody new."""
    stack.sign_up(email)
    page = context.new_page()
    page.goto("/login")
    page.locator("[name=email]").fill(email)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("main form button[type=submit]").first.click()
    page.wait_for_url("**/dashboard")
    return page


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What the console says; anything at all fails the test."""
    said: list[str] = []
    yield said
    assert said == []


def test_a_private_repository_is_chosen_configured_and_deployed(
    chromium: Browser, stack: Stack, github: GitHubPeer, complaints: list[str]
) -> None:
    context = chromium.new_context(base_url=f"http://localhost:{stack.port}")
    page = signed_in(context, stack, "olga@example.com")
    page.goto("/deploy")
    page.get_by_role("button", name="Connect GitHub").click()
    page.get_by_role("link", name="yes").click()
    page.wait_for_url("**/deploy")
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    # What is searched for while the list is loading comes in its stead.
    loading = re.compile(r"/_repositories$")
    page.route(loading, lambda _: None)
    page.goto("/deploy")
    with page.expect_event("requestfailed", lambda request: bool(loading.search(request.url))):
        page.get_by_placeholder("Search your repositories…").fill("diary")
    expect(page.locator("button.choice")).to_have_count(1)
    page.unroute(loading)

    page.goto("/deploy")
    expect(page.locator("button.choice")).to_have_count(8)
    page.get_by_placeholder("Search your repositories…").fill("diary")
    expect(page.locator("button.choice")).to_have_count(1)
    page.get_by_role("button", name="octo/diary").click()

    page.wait_for_url("**/configure")
    expect(page.locator("#detected")).to_contain_text("A plain static site")
    page.get_by_label("Name 1").fill("API_KEY")
    page.get_by_label("Value 1").fill("sk-live-0123456789")
    page.get_by_role("button", name="Add another").click()
    expect(page.get_by_label("Name 2")).to_be_focused()
    page.get_by_label("Name 2").fill("WRONG")
    page.get_by_role("button", name="Remove").last.click()
    expect(page.locator(".variable-rows .variable")).to_have_count(1)
    with page.expect_response(re.compile("_detected")) as looked:
        page.get_by_label("Root folder").fill("nowhere")
        page.get_by_label("Root folder").blur()
    assert looked.value.ok
    expect(page.locator("#detected")).to_contain_text("detected when it is built")
    page.get_by_label("Root folder").fill("")
    # Enter sends the form on, and adds or removes no row.
    page.get_by_label("Build command").press("Enter")

    page.wait_for_url("**/confirm")
    expect(page.locator(".summary")).to_contain_text("API_KEY")
    page.go_back()
    expect(page.get_by_label("Name 1")).to_have_value("API_KEY")
    page.go_forward()
    page.reload()
    # What leads on after two seconds comes when the page was seen.
    held: list[Route] = []
    page.route("**/wizard.js*", lambda route: held.append(route))
    page.get_by_role("button", name="Deploy", exact=True).click()
    expect(page.get_by_role("status").get_by_text("Deployment started.")).to_be_visible()
    while not held:
        page.wait_for_timeout(10)
    held[0].continue_()
    page.wait_for_url(LIST)
    row = page.locator("tbody tr").first
    assert LIST.search(page.url)[1] in str(row.get_attribute("id"))  # type: ignore[index]
    expect(row).to_contain_text("New")
    row.get_by_role("link", name="diary", exact=True).click()
    expect(page.locator("#deployment-header")).to_have_attribute("data-status", "success", timeout=60_000)
    assert not any("sk-live" in url for url in asked)
    context.close()


def test_any_address_is_deployed_without_javascript(
    chromium: Browser, stack: Stack, git: GitServer, folder: Path
) -> None:
    make_repository(folder / "plain", FILES)
    context = chromium.new_context(base_url=f"http://localhost:{stack.port}", java_script_enabled=False)
    page = signed_in(context, stack, "nora@example.com")
    page.goto("/deploy")
    page.get_by_label("Address").fill(git.url("plain"))
    page.get_by_role("button", name="Continue").first.click()
    page.get_by_label("Name 1").fill("FIRST")
    page.get_by_label("Value 1").fill("1")
    page.get_by_role("button", name="Add another").click()
    page.get_by_label("Name 2").fill("SECOND")
    page.get_by_label("Value 2").fill("2")
    page.get_by_text("Paste an .env file").click()
    page.get_by_label("Lines of the form NAME=value").fill("THIRD=3")
    page.get_by_role("button", name="Add to the table").click()
    page.get_by_role("button", name="Remove FIRST").click()
    page.get_by_label("Build command").press("Enter")
    page.wait_for_url("**/confirm")
    assert page.locator(".summary .tags code").all_inner_texts() == ["SECOND", "THIRD"]
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.wait_for_url(LIST)
    expect(page.locator("tbody tr").first).to_contain_text("plain")
    context.close()
