"""Believable content, brought about as a user would: projects, deployments that went well and badly, and their logs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from tests.every_page import every_path
from tests.git_server import GitServer, Repository, make_repository
from tests.peers.github import GitHubPeer, PeerRepository
from tests.stack import Stack

EMAIL = "alice@acme.example"
# As the author of the commits is called.
NAME = "Alice"
SHOP = Path(__file__).parent / "e2e" / "apps" / "vite-react"
HANDBOOK = Path(__file__).parents[1] / "autostack" / "local" / "example"
NOTES_BUILD = """import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
mkdirSync("dist", { recursive: true });
const notes = readdirSync("notes");
for (const note of notes) console.log(`\\u001b[32m✓\\u001b[39m ${note}`);
if (!notes.includes("index.md")) {
  console.error("\\u001b[31mError:\\u001b[39m notes/index.md is missing: the notes have no front page");
  process.exit(1);
}
writeFileSync("dist/index.html", `<title>Field notes</title><h1>Field notes</h1><p>${notes.length} notes</p>`);
"""
NOTES = {
    "package.json": '{"name": "field-notes", "type": "module", "scripts": {"build": "node build.js"}}',
    "package-lock.json": '{"name": "field-notes", "lockfileVersion": 3, "packages": {}}',
    "build.js": NOTES_BUILD,
    **{f"notes/{name}.md": f"# {name}\n" for name in ("index", "tides", "lichen", "herons")},
}


def files_of(folder: Path) -> dict[str, str]:
    """Return a folder's files as a repository takes them."""
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def fill(stack: Stack, git: GitServer, folder: Path) -> dict[str, str]:
    """Make an admin's account with three projects, one of them failing; return the path of every page."""
    stack.sign_up(EMAIL, NAME)
    command = [str(Path(sys.executable).with_name("autostack")), "users", "--data-dir", str(stack.data_dir)]
    subprocess.run([*command, "promote", EMAIL], check=True)
    shop = make_repository(folder / "acme" / "storefront", files_of(SHOP))
    handbook = make_repository(folder / "acme" / "handbook", files_of(HANDBOOK))
    notes = make_repository(folder / "acme" / "field-notes", NOTES)
    for name in ("handbook", "field-notes", "storefront"):
        _deploy(stack, git, name)
    handbook.commit({"src/clock.js": "export {};\n"}, "Stop the clock on the front page")
    _deploy(stack, git, "handbook")
    _change_shop(shop)
    good = _deploy(stack, git, "storefront")
    notes.commit({"notes/index.md": None}, "Move the front page")
    bad = _deploy(stack, git, "field-notes")
    assert (good["status"], bad["status"]) == ("success", "failed"), (good["logs"], bad["logs"])
    started = stack.begin_draft(EMAIL, git.url("acme/handbook"), started=True)
    stack.ended(stack.call("GET", "/api/deployments?limit=1")["deployments"][0])
    return every_path(good, bad, stack.begin_draft(EMAIL, git.url("acme/storefront")), started)


def _change_shop(shop: Repository) -> None:
    shop.commit({"src/marker.js": 'export const marker = "Spring collection";\n'}, "Show the spring collection")


def _deploy(stack: Stack, git: GitServer, name: str) -> dict[str, Any]:
    return stack.ended(stack.deploy(git.url(f"acme/{name}")))


def repositories() -> list[PeerRepository]:
    """Return what the sample's owner has at GitHub."""
    names = ("storefront", "handbook", "field-notes", "design-tokens", "status-page")
    return [PeerRepository(id, f"acme/{name}", branches=["main", "next"]) for id, name in enumerate(names, 1)]


def connect(page: Page, github: GitHubPeer) -> None:
    """Connect the account of whom the page is signed in as with GitHub."""
    github.reset()
    github.repositories = repositories()
    page.goto("/settings/github")
    page.get_by_role("button", name="Connect GitHub").or_(page.get_by_role("link", name="Connect GitHub")).click()
    page.get_by_role("link", name="yes").click()
    page.wait_for_url("**/settings/github*")
