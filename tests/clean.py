"""What every page must be: of its theme, no wider than its screen, quiet, and usable by all as far as axe can tell."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Page, expect

# Opened at one width and then seen at the other, as when a phone is turned: between them, the themes open at both.
WIDTHS = {"light": (1280, 390), "dark": (390, 1280)}


@dataclass
class Seen:
    """What a page said in the console, and which hosts it asked."""

    complaints: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def note(self, said: ConsoleMessage) -> None:
        if said.type in {"error", "warning"}:
            self.complaints.append(said.text)


def watch(page: Page) -> Seen:
    """Return what a page does from now on, as it does it."""
    seen = Seen()
    page.on("console", seen.note)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    page.on("request", lambda request: seen.hosts.add(urlsplit(request.url).netloc))
    page.on("websocket", lambda socket: seen.hosts.add(urlsplit(socket.url).netloc))
    return seen


def expect_clean(page: Page, theme: str) -> None:
    """Look at a page at both widths."""
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert (luminance(page) < 128) == (theme == "dark")
    for width in WIDTHS[theme]:
        page.set_viewport_size({"width": width, "height": 844})
        page.wait_for_function("width => document.documentElement.scrollWidth <= width", arg=width)
        found = violations(page)
        assert not found, "\n".join([f"{page.url}, {width} wide", *found])


def luminance(page: Page) -> float:
    """Return how bright the page's ground is, from 0 to 255."""
    script = """() => {
        const canvas = document.createElement("canvas").getContext("2d");
        canvas.fillStyle = getComputedStyle(document.body).backgroundColor;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).reduce((sum, value) => sum + value) / 3;
    }"""
    return float(page.evaluate(script))


def transferred(page: Page) -> int:
    """Return how many bytes a page and its files took, as they were sent: nothing was kept before. Charts are apart."""
    script = """performance.getEntries().filter((entry) => !entry.name.includes("vendor/chart"))
        .reduce((sum, entry) => sum + (entry.transferSize ?? 0), 0)"""
    return int(page.evaluate(script))


def violations(page: Page) -> list[str]:
    """Return each rule of axe that the page breaks, and where."""
    return [
        f"{broken['id']}: {node['html']} {node['failureSummary']}"
        for broken in Axe().run(page).response["violations"]
        for node in broken["nodes"]
    ]
