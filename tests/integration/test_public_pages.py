"""What anybody may read, and the frame around every page."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Literal

import pytest

from autostack.dashboard.pages import BANNER_COOKIE
from autostack.extensions import settings
from autostack.proxy import gate_cookies
from autostack.web import themes
from autostack.web.navigation import FOOTER, sections
from tests.conftest import AppMaker
from tests.pages import parsed, text_of
from tests.people import Browser

COMING_SOON = ["/pricing", "/docs", "/templates", "/pipelines", "/monitoring", "/team", "/integrations"]


class Links(HTMLParser):
    """Where a page's links lead, in the page's order."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.current: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "a" and given.get("href"):
            self.found.append(given["href"] or "")
            if "aria-current" in given:
                self.current.append(given["href"] or "")


def inner_and_outer(page: str) -> set[str]:
    """Return all addresses that a page leads to."""
    return set(Links(page).found)


def inner(page: str) -> set[str]:
    """Return the addresses of our own that a page leads to."""
    return {link.split("#")[0] for link in Links(page).found if link.startswith("/")}


def test_strangers_are_welcomed_and_users_led_to_their_dashboard(browser: Browser, nobodys_browser: Browser) -> None:
    welcome = nobodys_browser.get("/")
    assert welcome.status_code == 200
    assert {"/signup", "/login"} <= inner(welcome.text)
    assert browser.get("/").location == "/dashboard"


def test_every_page_that_strangers_reach_leads_on_and_nowhere_dead(nobodys_browser: Browser) -> None:
    pages: dict[str, str] = {}
    waiting = {"/", *COMING_SOON}
    while waiting:
        path = waiting.pop()
        found = nobodys_browser.get(path)
        if found.status_code == 302 and found.location.startswith("/login?next="):
            continue
        assert found.status_code == 200, path
        pages[path] = found.text
        waiting |= {link for link in inner(found.text) if not link.startswith("/static/")} - pages.keys()
    assert {"/signup", "/terms", "/docs/architecture", "/docs/agent-api", "/docs/api"} <= pages.keys()
    for path, page in pages.items():
        for link in Links(page).found if "html" in page[:20] else ():
            target, _, anchor = link.partition("#")
            assert not anchor or f'id="{anchor}"' in pages.get(target or path, ""), f"{link} on {path}"


@pytest.mark.parametrize("path", COMING_SOON)
def test_what_is_not_here_yet_has_a_page_that_leads_on(nobodys_browser: Browser, path: str) -> None:
    page = nobodys_browser.get(path)
    assert page.status_code == 200
    article = page.text[page.text.index("<main") : page.text.index("</main>")]
    assert len(inner(article)) >= 2


def test_the_page_on_monitoring_leads_to_what_is_measured(nobodys_browser: Browser) -> None:
    page = nobodys_browser.get("/monitoring").text
    assert {"/projects", "/analytics", "/status", "/docs/configuration#proxy"} <= inner_and_outer(page)
    assert "Traffic" in page
    assert "PROXY_METRICS_PORT" in page


def test_the_limits_of_the_installation_are_told_as_they_are_set(make_app: AppMaker) -> None:
    page = Browser(make_app(build_timeout_ms=90_000, rate_limit_deployments="7/hour")).get("/pricing").text
    assert "1m 30s" in page
    assert "7 per hour" in page


def test_the_terms_and_the_privacy_page_say_who_runs_it(make_app: AppMaker, nobodys_browser: Browser) -> None:
    app = make_app(operator_name="Jane & Sons", operator_email="jane@example.com")
    for path in ("/terms", "/privacy"):
        assert "mailto:jane@example.com" in inner_and_outer(Browser(app).get(path).text)
        assert "Jane &amp; Sons" in Browser(app).get(path).text
        assert "have not entered a name" in nobodys_browser.get(path).text


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_privacy_page_names_the_cookies_that_there_are(
    make_app: AppMaker, scheme: Literal["http", "https"]
) -> None:
    app = make_app(sites_url_scheme=scheme)
    with app.app_context():
        of_sites = gate_cookies.names(settings())
    assert all(name.startswith("__Host-") == (scheme == "https") for name in of_sites)
    named = {
        (row.select("code")[0].get_text(), row.select("td")[2].get_text())
        for row in parsed(Browser(app).get("/privacy")).select("tbody tr")
    }
    assert named == {
        (app.config["SESSION_COOKIE_NAME"], "Until the browser closes, or 30 days where you asked to be remembered"),
        (BANNER_COOKIE, "Half a year"),
        (themes.COOKIE, "A year"),
        (of_sites[0], f"{gate_cookies.ENTRY_TTL_S // 86_400} days"),
        (of_sites[1], {365 * 86_400: "A year"}[gate_cookies.KNOWN_TTL_S]),
    }


def test_the_privacy_page_says_how_long_visits_stay_counted(make_app: AppMaker) -> None:
    page = text_of(parsed(Browser(make_app(traffic_retention_days=41)).get("/privacy")), "main")
    assert "figures are kept for 41 days" in page
    assert page.count("picture that you upload") == 1


def test_who_signs_up_is_told_what_they_agree_to(nobodys_browser: Browser) -> None:
    assert {"/terms", "/privacy"} <= inner(nobodys_browser.get("/signup").text)


def test_the_footer_stands_below_the_landing_page(nobodys_browser: Browser) -> None:
    offered = {path for links in FOOTER.values() for _, path in links}
    assert offered <= inner(nobodys_browser.get("/").text)


def test_each_section_leads_to_a_page_that_says_where_one_is(browser: Browser) -> None:
    for section in sections(is_admin=False):
        page = browser.get(section.path, follow_redirects=True)
        assert page.status_code == 200
        assert section.path in inner(page.text)
        assert page.request.path == section.path
        assert Links(page.text).current[0] == page.request.path


def test_only_admins_see_the_way_to_administration(browser: Browser) -> None:
    assert "/admin/users" not in inner(browser.get("/projects").text)
    assert sections(is_admin=True)[-1].label == "Admin"
