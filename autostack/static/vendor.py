"""Copy the front end's third-party files from node_modules/ to where web serves them. Run by `make install`."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGET = Path(__file__).parent / "vendor"
ICON_SOURCE = "lucide-static/icons"
# The icons that templates name: `icon("rocket")` is ICON_SOURCE/rocket.svg.
ICONS = (
    "arrow-down-to-line",
    "ban",
    "chevron-left",
    "chevron-right",
    "circle-check",
    "circle-dashed",
    "circle-x",
    "cloud-upload",
    "copy",
    "download",
    "ellipsis",
    "external-link",
    "folder-git-2",
    "git-branch",
    "git-commit-horizontal",
    "info",
    "key-round",
    "link",
    "loader-circle",
    "log-out",
    "mail",
    "mail-check",
    "monitor",
    "moon",
    "play",
    "plus",
    "rocket",
    "rotate-cw",
    "scroll-text",
    "search",
    "settings",
    "sun",
    "terminal",
    "trash-2",
    "triangle-alert",
    "undo-2",
    "unplug",
    "x",
)
FILES = {
    "basecoat-css/dist/basecoat.cdn.min.css": "basecoat.css",
    "htmx.org/dist/htmx.min.js": "htmx.js",
    **{f"{ICON_SOURCE}/{name}.svg": f"icons/{name}.svg" for name in ICONS},
}


def main(target: Path = TARGET) -> None:
    """Copy each file of FILES into `target`."""
    (target / "icons").mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(ROOT / "node_modules" / source, target / name)


if __name__ == "__main__":
    main()
