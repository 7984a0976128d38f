"""A domain and a password in Chromium: added on a page, shown in DNS, served; asked for, typed, passed by."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.test_settings_and_variables import signed_in
from tests.git_server import GitServer, make_repository
from tests.peers.dns_server import DnsServer
from tests.stack import Stack

DOMAIN = "www.hedy.example"
PASSWORD = "frequency hopping"
HERE = "192.0.2.10"


@pytest.fixture(scope="module")
def owner(chromium: Browser, stack: Stack, git: GitServer, folder: Path) -> tuple[Page, str]:
    """Hedy's browser, and the path of her project, which is deployed."""
    make_repository(folder / "hopping", {"index.html": "<h1>hopping</h1>"})
    page = signed_in(chromium, stack, "hopping@example.com")
    deployment = stack.ended(stack.deploy(git.url("hopping")))
    assert deployment["status"] == "success"
    return page, f"/projects/{deployment['projectId']}"


def test_a_domain_is_added_shown_to_be_hers_and_served(owner: tuple[Page, str], stack: Stack, dns: DnsServer) -> None:
    page, project = owner
    page.goto(f"{project}/domains")
    page.get_by_label("Domain", exact=True).fill(DOMAIN)
    page.get_by_label("Also the same").uncheck()
    page.get_by_role("button", name="Add domain").click()
    records = page.locator(".records tbody tr")
    expect(records).to_have_count(2)
    for row in records.all():
        kind, name, value = (cell.inner_text() for cell in row.locator("td").all()[:3])
        dns.put(name, kind, value)
    dns.put("hopping.localhost", "A", HERE)
    page.get_by_role("button", name=f"Check {DOMAIN} now").click()
    expect(page.get_by_text("Active")).to_be_visible()
    served = stack.get_site(f"http://{DOMAIN}")
    assert (served.status_code, "hopping" in served.text) == (200, True)
    page.get_by_role("button", name=f"Remove {DOMAIN}").click()
    expect(page.get_by_text(f"{DOMAIN} is removed.")).to_be_visible()
    assert stack.get_site(f"http://{DOMAIN}").status_code == 404


@pytest.mark.parametrize("script", [True, False])
def test_visitors_type_the_password_and_its_owner_does_not(
    chromium: Browser, owner: tuple[Page, str], stack: Stack, script: bool
) -> None:
    page, project = owner
    page.goto(f"{project}/access")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Save password").click()
    expect(page.get_by_text("The password is set.")).to_be_visible()
    site = f"http://hopping.localhost:{stack.proxy_port}/"
    visitor = chromium.new_context(java_script_enabled=script).new_page()
    assert visitor.goto(site).status == 401  # type: ignore[union-attr]
    visitor.get_by_label("Password").fill("frequency hoping")
    visitor.get_by_role("button", name="Continue").click()
    expect(visitor.get_by_role("alert")).to_have_text("That is not the password.")
    visitor.get_by_label("Password").fill(PASSWORD)
    visitor.get_by_role("button", name="Continue").click()
    expect(visitor.get_by_role("heading")).to_have_text("hopping")
    visitor.context.close()
    hers = page.context.new_page()
    hers.goto(site)
    hers.get_by_role("link", name="Is it your site?").click()
    expect(hers.get_by_role("heading")).to_have_text("hopping")
    assert urlsplit(hers.url).path == "/"
    hers.close()
