"""Signing in by GitHub and Google in Chromium: the buttons, the pages there, and the way back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.faults.watching import wait_for
from tests.front_end import FrontEnd, running_front_end
from tests.oauth import registered_with
from tests.peers.github import GitHubPeer, email, running_github
from tests.peers.google import GooglePeer, running_google
from tests.stack import PASSWORD, Stack, running_stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def github() -> Iterator[GitHubPeer]:
    with running_github() as peer:
        yield peer


@pytest.fixture(scope="module")
def google() -> Iterator[GooglePeer]:
    with running_google() as peer:
        yield peer


@pytest.fixture(scope="module")
def front_end() -> Iterator[FrontEnd]:
    with running_front_end() as running:
        yield running


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, github: GitHubPeer, google: GooglePeer, front_end: FrontEnd
) -> Iterator[Stack]:
    """The whole product, registered with both, and with a front end elsewhere."""
    known = registered_with(github, google)
    env = {name.upper(): value for name, value in known.items()} | {"FRONTEND_URL": front_end.url}
    with running_stack(tmp_path_factory.mktemp("oauth"), env=env) as running:
        front_end.api = f"http://localhost:{running.port}"
        yield running


@pytest.fixture
def page(chromium: Browser, stack: Stack) -> Iterator[Page]:
    """A tab of a browser that was never here."""
    context = chromium.new_context(base_url=f"http://localhost:{stack.port}")
    tab = context.new_page()
    complaints: list[str] = []
    # Such as a policy that keeps a page from leading on.
    tab.on("console", lambda said: complaints.append(said.text) if "Policy" in said.text else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    yield tab
    context.close()
    assert complaints == []


def agree(page: Page) -> None:
    expect(page.get_by_role("heading")).to_have_text("Authorize Autostack?")
    page.get_by_role("link", name="yes").click()


def test_from_the_button_to_the_projects_and_back_again(page: Page, stack: Stack, github: GitHubPeer) -> None:
    github.reset()
    page.goto("/login?next=/projects/new")
    page.get_by_role("link", name="Log in with GitHub").click()
    agree(page)
    page.wait_for_url("**/projects/new")
    expect(page.get_by_text("Welcome, Octo.")).to_be_visible()
    page.get_by_role("button", name="Your account").click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    page.get_by_role("link", name="Log in with GitHub").click()
    agree(page)
    page.wait_for_url("**/dashboard")


def test_who_says_no_is_led_back_to_the_login(page: Page, google: GooglePeer) -> None:
    page.goto("/signup")
    page.get_by_role("link", name="Sign up with Google").click()
    page.get_by_role("link", name="no").click()
    expect(page.get_by_role("alert")).to_contain_text("did not agree")
    page.get_by_role("link", name="Back to the login").click()
    page.wait_for_url("**/login")


def test_a_front_end_elsewhere_signs_in_with_a_code(page: Page, front_end: FrontEnd, github: GitHubPeer) -> None:
    github.reset()
    page.goto(front_end.url)
    page.get_by_role("button").click()
    page.get_by_role("link", name="no").click()
    expect(page.get_by_role("status")).to_have_text("ACCESS_DENIED")
    page.get_by_role("button").click()
    agree(page)
    expect(page.get_by_role("status")).to_have_text("Hello, Octo")
    assert page.url == f"{front_end.url}/"
    # The dashboard has not signed the browser in beside it.
    page.goto("/dashboard")
    page.wait_for_url("**/login?next=/dashboard")


def test_a_front_end_is_led_back_to_from_the_page_for_the_password(
    page: Page, stack: Stack, front_end: FrontEnd, github: GitHubPeer
) -> None:
    github.reset()
    github.account |= {"id": 8, "login": "nora", "emails": [email("nora@example.com")]}
    stack.sign_up("nora@example.com", "Nora")
    page.goto(front_end.url)
    page.get_by_role("button").click()
    agree(page)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Link GitHub").click()
    expect(page.get_by_role("status")).to_have_text("Hello, Nora")


def test_an_account_with_a_password_adds_both_connects_github_and_disconnects(
    page: Page, stack: Stack, github: GitHubPeer, google: GooglePeer
) -> None:
    github.reset()
    github.account |= {"id": 7, "login": "olga", "emails": [email("olga@example.com")]}
    stack.sign_up("olga@example.com", "Olga")
    page.goto("/login")
    page.get_by_role("link", name="Log in with GitHub").click()
    agree(page)
    # Its address is not confirmed yet: the password shows whose it is.
    expect(page.get_by_role("heading", level=1)).to_have_text("Is it you?")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Link GitHub").click()
    page.wait_for_url("**/dashboard")

    page.get_by_role("button", name="Your account").click()
    page.locator("#user-menu").get_by_role("link", name="Settings").click()
    page.locator(".settings-nav").get_by_role("link", name="Account", exact=True).click()
    page.get_by_text("Add", exact=True).click()
    page.get_by_label("Your password").fill(PASSWORD)
    page.get_by_role("button", name="Add Google").click()
    agree(page)
    page.wait_for_url("**/settings/account")
    expect(page.get_by_text("You can sign in with Google now.")).to_be_visible()

    page.locator(".settings-nav").get_by_role("link", name="GitHub", exact=True).click()
    page.get_by_role("button", name="Connect GitHub").click()
    agree(page)
    expect(page.get_by_role("heading", name="Connected as olga")).to_be_visible()
    page.get_by_role("button", name="Disconnect").click()
    expect(page.get_by_role("button", name="Connect GitHub")).to_be_visible()
    wait_for(lambda: all(asked.parameters["scope"] != "repo" for asked in github.tokens.values()))
    page.locator(".settings-nav").get_by_role("link", name="Account", exact=True).click()
    page.get_by_role("button", name="Sign in with Google no more").click()
    expect(page.get_by_text("Google signs in to your account no more.")).to_be_visible()
