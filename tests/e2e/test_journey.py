"""What a person does from sign-up to roll-back, in Chromium, with a real Vite and React app from a real Git server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.every_page import stay
from tests.git_server import GitServer, Repository, make_repository
from tests.stack import PASSWORD, Stack

APP = Path(__file__).parent / "apps" / "vite-react"
# A first build fetches its dependencies from the registry.
BUILT_WITHIN_MS = 400_000


@pytest.fixture
def page(stack: Stack, chromium: Browser) -> Iterator[Page]:
    """A tab of a browser that is nobody yet. Anything that the console complains of fails the test."""
    complaints: list[str] = []
    context = chromium.new_context(base_url=f"http://localhost:{stack.port}")
    tab = context.new_page()
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    yield tab
    context.close()
    # The browser itself reports each answer that is no success.
    assert [text for text in complaints if "status of 422" not in text] == []


def app_files() -> dict[str, str]:
    return {str(path.relative_to(APP)): path.read_text() for path in APP.rglob("*") if path.is_file()}


def sign_up(page: Page, email: str) -> None:
    page.goto("/signup")
    page.locator("[name=name]").fill("Grace")
    page.locator("[name=email]").fill(email)
    page.locator("[name=password]").fill(PASSWORD)
    page.locator("main form button[type=submit]").click()
    page.wait_for_url("**/dashboard")


def configure(page: Page, repository: str, **settings: str) -> None:
    """Go through the wizard's first page, and fill in the second."""
    page.goto("/deploy")
    form = page.locator("main form", has=page.locator("[name=repository]"))
    form.locator("[name=repository]").fill(repository)
    form.get_by_role("button", name="Continue").click()
    page.wait_for_url("**/configure")
    for name, value in settings.items():
        page.locator(f"[name={name}]").fill(value)
    page.get_by_role("button", name="Continue").click()


def deploy(page: Page, repository: str, **settings: str) -> None:
    """Go through the wizard, and watch the build."""
    configure(page, repository, **settings)
    page.wait_for_url("**/confirm")
    stay(page)
    page.get_by_role("button", name="Deploy", exact=True).click()
    page.get_by_role("status").get_by_role("link", name="Watch it build").click()
    page.wait_for_url(re.compile(r"/deployments/[0-9a-f-]{36}$"))
    page.unroute_all()


def deploy_again(page: Page) -> None:
    page.get_by_role("button", name="Redeploy").first.wait_for()
    page.goto("/projects")
    page.locator("main a[href^='/projects/']:not([href$=new])").first.click()
    page.get_by_role("button", name="Deploy", exact=True).first.click()
    page.wait_for_url(re.compile(r"/deployments/[0-9a-f-]{36}$"))


def expect_end(page: Page, status: str) -> None:
    expect(page.locator("#deployment-header")).to_have_attribute("data-status", status, timeout=BUILT_WITHIN_MS)


def expect_live(page: Page, address: str, marker: str) -> None:
    """Visit the site as anybody does, and see what its JavaScript made."""
    site = page.context.new_page()
    site.goto(address)
    expect(site.locator("#marker")).to_have_text(marker)
    site.get_by_role("button").click()
    expect(site.get_by_role("button")).to_have_text("Clicked 1 times")
    site.close()


def uploads(log: Locator) -> tuple[int, int]:
    """Return how many files the log says were uploaded, of how many."""
    # Lines may come after the status that they led to.
    expect(log).to_contain_text(re.compile(r"Uploaded \d+ of"))
    said = re.search(r"Uploaded (\d+) of (\d+) files \(\d+ were already stored\)", log.inner_text())
    assert said, log.inner_text()
    return int(said[1]), int(said[2])


def test_a_vite_and_react_app_from_sign_up_to_roll_back(page: Page, stack: Stack, git: GitServer, folder: Path):
    repository: Repository = make_repository(folder / "garden", app_files())
    sign_up(page, "grace@example.com")
    deploy(page, git.url("garden"))
    first = page.url
    log = page.locator(".log-lines")
    expect(log).to_contain_text("Cloning completed", timeout=BUILT_WITHIN_MS)
    expect_end(page, "success")
    expect(log).to_contain_text("Detected Vite")
    expect(log).to_contain_text("Deployed to http://garden.localhost")
    address = page.get_by_role("link", name="Visit Site").get_attribute("href")
    assert address is not None
    expect_live(page, address, "first")

    # One changed file: the rest of the site is in the store, that of the repository in its mirror, and the dependencies
    # are in the cache.
    assert list(stack.data_dir.glob("mirrors/*/mirror-*"))
    repository.commit({"src/marker.js": 'export const marker = "second";\n'})
    deploy_again(page)
    expect_end(page, "success")
    uploaded, files = uploads(log)
    assert 0 < uploaded < files
    expect(log).to_contain_text("Restored node_modules from the build cache")
    expect_live(page, address, "second")

    repository.commit({"src/marker.js": "export const marker = ;\n"})
    deploy_again(page)
    expect_end(page, "failed")
    expect(page.get_by_role("alert").first).to_contain_text("ended with exit code 1")
    expect_live(page, address, "second")

    page.goto(first)
    page.get_by_role("button", name="Roll back to this").click()
    page.get_by_role("status").filter(has_text="garden shows this deployment now.").wait_for()
    expect_live(page, address, "first")
    page.goto("/projects")
    page.locator("main a[href^='/projects/']:not([href$=new])").first.click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()


def test_a_plain_site_and_a_folder_of_a_monorepo(page: Page, git: GitServer, folder: Path):
    files = {"index.html": "<h1>root</h1>", "apps/docs/index.html": "<h1 id=marker>docs</h1>"}
    make_repository(folder / "mono", files)
    sign_up(page, "ada@example.com")
    for settings, heading in (({}, "root"), ({"rootDir": "apps/docs"}, "docs")):
        deploy(page, git.url("mono"), **settings)
        expect_end(page, "success")
        address = page.get_by_role("link", name="Visit Site").get_attribute("href")
        site = page.context.new_page()
        site.goto(str(address))
        expect(site.get_by_role("heading")).to_have_text(heading)
        site.close()


def test_a_folder_outside_the_repository_is_said_at_its_field(page: Page, git: GitServer, folder: Path):
    make_repository(folder / "folderless", {"index.html": "hi"})
    sign_up(page, "barbara@example.com")
    with page.expect_response(lambda response: response.status == 422):
        configure(page, git.url("folderless"), rootDir="../up")
    expect(page.get_by_label("Root folder")).to_have_accessible_description(re.compile("inside the repository"))
