"""Settings and a project's variables in Chromium: a theme without a flash, a picture, and forms without JavaScript."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.git_server import GitServer, make_repository
from tests.stack import PASSWORD, Stack


def signed_in(chromium: Browser, stack: Stack, email: str, **options: bool) -> Page:
    stack.sign_up(email, "Hedy")
    page = chromium.new_context(base_url=f"http://localhost:{stack.port}", **options).new_page()  # type: ignore[arg-type]
    page.goto("/login")
    page.locator("[name=email]").fill(email)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("main form button[type=submit]").first.click()
    page.wait_for_url("**/dashboard")
    return page


def test_a_theme_of_the_menu_is_there_at_once_and_stays(chromium: Browser, stack: Stack) -> None:
    page = signed_in(chromium, stack, "hedy@example.com")
    page.get_by_role("button", name="Your account").click()
    with page.expect_response("**/settings/appearance") as kept:
        page.locator("#user-menu").get_by_role("button", name="Dark theme").click()
    assert kept.value.status == 204
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.context.clear_cookies(name="theme")
    # From the first byte on: whatever a script could do comes too late to be in here.
    assert 'data-theme="dark"' in page.goto("/settings/appearance").text()  # type: ignore[union-attr]
    expect(page.get_by_role("radio", name="Dark")).to_be_checked()
    page.context.close()


def test_a_picture_is_seen_on_every_page(chromium: Browser, stack: Stack) -> None:
    page = signed_in(chromium, stack, "lamarr@example.com")
    drawn = io.BytesIO()
    Image.new("RGB", (300, 200), "teal").save(drawn, "PNG")
    page.goto("/settings")
    page.get_by_label("A new picture").set_input_files(
        {"name": "me.png", "mimeType": "image/png", "buffer": drawn.getvalue()}
    )
    page.get_by_role("button", name="Upload").click()
    expect(page.get_by_text("Your picture is changed.")).to_be_visible()
    page.goto("/projects")
    assert page.locator(".avatar-button img").evaluate("image => image.complete && image.naturalWidth") == 256
    page.context.close()


@pytest.mark.parametrize("script", [True, False])
def test_variables_are_added_revealed_and_removed(
    chromium: Browser, stack: Stack, git: GitServer, folder: Path, script: bool
) -> None:
    name = f"variables-{script}".lower()
    make_repository(folder / name, {"index.html": "hi"})
    page = signed_in(chromium, stack, f"{name}@example.com", java_script_enabled=script)
    project = stack.call("POST", "/api/projects", {"name": name, "repository": git.url(name)}, 201)
    page.goto(f"/projects/{project['id']}/environment")
    page.get_by_label("Name", exact=True).fill("KEY")
    page.get_by_label("Value", exact=True).fill("frequency hopping")
    page.get_by_role("button", name="Add variable").click()
    expect(page.get_by_text("KEY is saved.")).to_be_visible()
    expect(page.get_by_text("frequency hopping")).to_have_count(0)
    page.get_by_role("button", name="Reveal KEY").click()
    expect(page.locator(".revealed")).to_have_text("frequency hopping")
    page.get_by_role("button", name="Remove KEY").click()
    expect(page.get_by_text("KEY is removed.")).to_be_visible()
    page.goto(f"/projects/{project['id']}/danger")
    page.get_by_label("to confirm").fill(name)
    page.get_by_role("button", name="Delete project").click()
    page.wait_for_url("**/projects")
    expect(page.get_by_text(f"{name} is deleted.")).to_be_visible()
    page.context.close()
