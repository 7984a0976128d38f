"""Somebody's account in Chromium: sign up, confirm the address, forget the password, choose another, leave."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.mailbox import Mailbox, link_in, running_mailbox
from tests.stack import PASSWORD, Stack, running_stack

EMAIL = "ada@example.com"
NEW_PASSWORD = "another horse battery"


@pytest.fixture(scope="module")
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as running:
        yield running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, mailbox: Mailbox) -> Iterator[Stack]:
    env = {"SMTP_HOST": mailbox.host, "SMTP_PORT": str(mailbox.port)}
    with running_stack(tmp_path_factory.mktemp("stack"), env=env) as running:
        yield running


@pytest.fixture
def context(chromium: Browser, stack: Stack) -> Iterator[BrowserContext]:
    with chromium.new_context(base_url=f"http://localhost:{stack.port}") as opened:
        yield opened


def log_in(page: Page, password: str, email: str = EMAIL) -> None:
    page.goto("/login")
    page.get_by_label("E-mail").fill(email)
    page.get_by_label("Password", exact=True).fill(password)
    page.locator("main").get_by_role("button", name="Log in", exact=True).click()


def log_out(page: Page) -> None:
    page.get_by_role("button", name=re.compile("account|menu", re.IGNORECASE)).click()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url(re.compile(r"/login(\?|$)"))


def test_from_signing_up_to_logging_out(context: BrowserContext, chromium: Browser, stack: Stack, mailbox: Mailbox):
    page = context.new_page()
    page.goto("/signup")
    page.get_by_label("Name").fill("Ada Lovelace")
    page.get_by_label("E-mail").fill(EMAIL)
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.locator("main form button[type=submit]").click()
    page.wait_for_url("**/dashboard")
    reminder = page.get_by_text("Confirm your address")
    expect(reminder).to_be_visible()

    page.goto(link_in(mailbox.wait(1)))
    page.locator("main form button[type=submit]").click()
    expect(page.get_by_text("Your e-mail address is confirmed.")).to_be_visible()
    expect(reminder).to_have_count(0)
    log_out(page)

    log_in(page, "not " + PASSWORD)
    expect(page.get_by_text("The e-mail address or the password is wrong.")).to_be_visible()
    log_in(page, PASSWORD)
    page.wait_for_url("**/dashboard")

    with chromium.new_context(base_url=f"http://localhost:{stack.port}") as elsewhere:
        other = elsewhere.new_page()
        other.goto("/forgot-password")
        other.get_by_label("E-mail").fill(EMAIL)
        other.locator("main form button[type=submit]").click()
        other.goto(link_in(mailbox.wait(2)))
        other.get_by_label(re.compile("password", re.IGNORECASE)).fill(NEW_PASSWORD)
        other.locator("main form button[type=submit]").click()
        other.wait_for_url("**/login")
        log_in(other, PASSWORD)
        expect(other.get_by_text("The e-mail address or the password is wrong.")).to_be_visible()
        log_in(other, NEW_PASSWORD)
        other.wait_for_url("**/dashboard")

    # The reset has ended the session that went on here.
    page.reload()
    page.wait_for_url(re.compile(r"/login(\?|$)"))
    log_in(page, NEW_PASSWORD)
    page.wait_for_url("**/dashboard")
    log_out(page)
    page.goto("/projects")
    page.wait_for_url(re.compile(r"/login\?next="))


def test_a_session_elsewhere_is_ended_and_a_token_made_and_revoked(
    context: BrowserContext, chromium: Browser, stack: Stack
):
    email = "grace@example.com"
    stack.sign_up(email, "Grace Hopper")
    page = context.new_page()
    log_in(page, PASSWORD, email)
    page.wait_for_url("**/dashboard")
    with chromium.new_context(base_url=f"http://localhost:{stack.port}") as elsewhere:
        other = elsewhere.new_page()
        log_in(other, PASSWORD, email)
        other.wait_for_url("**/dashboard")
        page.goto("/settings/sessions")
        expect(page.get_by_text("This session")).to_have_count(1)
        page.get_by_role("button", name="End all others").click()
        expect(page.get_by_text("All other sessions have ended.")).to_be_visible()
        other.reload()
        other.wait_for_url(re.compile(r"/login(\?|$)"))

    page.get_by_role("link", name="Access tokens").click()
    page.get_by_label("What is it for?").fill("Deploys from CI")
    page.get_by_role("button", name="Make token").click()
    secret = page.locator(".token-shown code").inner_text()
    answered = stack.client.get("/api/projects", headers={"Authorization": f"Bearer {secret}"})
    assert answered.status_code == 200
    page.get_by_role("button", name="Revoke Deploys from CI").click()
    expect(page.get_by_text("The token is revoked.")).to_be_visible()
    answered = stack.client.get("/api/projects", headers={"Authorization": f"Bearer {secret}"})
    assert answered.status_code == 401
