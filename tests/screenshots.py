"""Pictures of every page of a running product, on a desk and on a phone, light and dark: `make screenshots`.

They are written to docs/screenshots/<width>-<theme>/; the few of KEPT, which the README shows, beside them and small.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests import samples
from tests.every_page import PUBLIC, sign_in, stay
from tests.git_server import serve_repositories
from tests.oauth import registered_with
from tests.peers.github import running_github
from tests.peers.google import running_google
from tests.stack import Stack, running_stack

Theme = Literal["light", "dark"]
TARGET = Path(__file__).parents[1] / "docs" / "screenshots"
# A phone's, and a desk's.
SIZES = {1280: 800, 390: 844}
THEMES: tuple[Theme, ...] = ("light", "dark")
# What nobody finds.
ERRORS = {"not found": "/nowhere"}
KEPT = ("dashboard", "deployment", "configure")
KEPT_COLOURS = 128
# What is below the screen is in the picture too.
DRAWN = "* { content-visibility: visible !important; }"


@contextmanager
def sample(folder: Path, browser: Browser) -> Iterator[tuple[Stack, list[Any], dict[str, str]]]:
    """Run a product with believable content; return it, the owner's cookies and the path of every page."""
    with ExitStack() as stack:
        github, google = stack.enter_context(running_github()), stack.enter_context(running_google())
        known = {name.upper(): str(value) for name, value in registered_with(github, google).items()}
        del known["OAUTH_TIMEOUT_S"]
        (folder / "git").mkdir()
        git = stack.enter_context(serve_repositories(folder / "git"))
        product = stack.enter_context(running_stack(folder, env=known))
        paths = samples.fill(product, git, folder / "git")
        context = browser.new_context(base_url=f"http://localhost:{product.port}")
        page = context.new_page()
        sign_in(page, samples.EMAIL)
        samples.connect(page, github)
        cookies = context.cookies()
        context.close()
        yield product, cookies, {**paths, **ERRORS}


def shoot(page: Page, paths: Mapping[str, str], folder: Path) -> None:
    """Write a picture of the whole of each page."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        page.goto(path, wait_until="networkidle")
        file = folder / f"{name.replace(' ', '-')}.png"
        page.screenshot(path=file, full_page=True, animations="disabled", style=DRAWN)


def keep(page: Page, paths: Mapping[str, str]) -> None:
    """Write what the README shows: as much as a screen does, in few colours."""
    for name in [name for name in KEPT if name in paths]:
        page.goto(paths[name], wait_until="networkidle")
        file = TARGET / f"{name}.png"
        page.screenshot(path=file, animations="disabled")
        with Image.open(file) as picture:
            picture.convert("RGB").quantize(KEPT_COLOURS).save(file, optimize=True)


def shoot_all(browser: Browser, product: Stack, cookies: list[Any], paths: Mapping[str, str], *, kept: bool) -> None:
    """Look at every page at each width in each theme, as a stranger at what is for strangers."""
    for width, height in SIZES.items():
        for theme in THEMES:
            # The page's policy would refuse the picture's own style.
            options = {"viewport": {"width": width, "height": height}, "color_scheme": theme, "bypass_csp": True}
            # What moves would be drawn on its way.
            options |= {"reduced_motion": "reduce"}
            for signed_in in (False, True):
                context: BrowserContext = browser.new_context(base_url=f"http://localhost:{product.port}", **options)  # type: ignore[arg-type]
                if signed_in:
                    context.add_cookies(cookies)
                chosen = {name: path for name, path in paths.items() if (name not in PUBLIC) == signed_in}
                page = context.new_page()
                stay(page)
                shoot(page, chosen, TARGET / f"{width}-{theme}")
                if kept and (width, theme) == (1280, "light"):
                    keep(page, chosen)
                context.close()


def main(arguments: list[str]) -> None:
    """Write the pictures; `--keep` those of the README too."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="write the committed pictures anew, too")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="only these pages")
    chosen = parser.parse_args(arguments)
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        with sample(Path(folder), browser) as (product, cookies, paths):
            paths = {name: path for name, path in paths.items() if not chosen.only or name in chosen.only}
            shoot_all(browser, product, cookies, paths, kept=chosen.keep)


if __name__ == "__main__":
    main(sys.argv[1:])
