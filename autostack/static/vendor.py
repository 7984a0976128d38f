"""Copy the front end's third-party files from node_modules/ to where web serves them. Run by `make install`."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGET = Path(__file__).parent / "vendor"
STYLES = "basecoat.css"
# What stands beside a sidebar, which no page of ours has. For the sake of `+*` a browser styles all lines of a log anew
# whenever the oldest of them are dropped.
BESIDE_A_SIDEBAR = re.compile(r"[^{}]*\.sidebar[^{}]*\+\*\{[^{}]*\}")
ICON_SOURCE = "lucide-static/icons"
# The icons that templates name: `icon("rocket")` is ICON_SOURCE/rocket.svg.
ICONS = (
    "activity",
    "arrow-down-right",
    "arrow-down-to-line",
    "arrow-right",
    "arrow-up-right",
    "ban",
    "book-open",
    "chart-column",
    "check",
    "chevron-down",
    "chevron-left",
    "chevron-right",
    "chevron-up",
    "circle-check",
    "circle-dashed",
    "circle-help",
    "circle-x",
    "clock",
    "cloud-upload",
    "copy",
    "database",
    "download",
    "ellipsis",
    "external-link",
    "folder-git-2",
    "git-branch",
    "git-commit-horizontal",
    "globe",
    "hammer",
    "hourglass",
    "info",
    "key-round",
    "keyboard",
    "layout-dashboard",
    "link",
    "loader-circle",
    "lock",
    "log-out",
    "mail",
    "mail-check",
    "menu",
    "minus",
    "monitor",
    "moon",
    "play",
    "plus",
    "rocket",
    "rotate-cw",
    "scroll-text",
    "search",
    "server",
    "settings",
    "shield",
    "sun",
    "terminal",
    "text-wrap",
    "trash-2",
    "triangle-alert",
    "undo-2",
    "unplug",
    "x",
    "zap",
)
FILES = {
    "basecoat-css/dist/basecoat.cdn.min.css": STYLES,
    "chart.js/dist/chart.umd.min.js": "chart.js",
    "htmx.org/dist/htmx.min.js": "htmx.js",
    **{f"{ICON_SOURCE}/{name}.svg": f"icons/{name}.svg" for name in ICONS},
}


def main(target: Path = TARGET) -> None:
    """Copy each file of FILES into `target`, the styles without those that nothing of ours has and every page pays."""
    (target / "icons").mkdir(parents=True, exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(ROOT / "node_modules" / source, target / name)
    styles = target / STYLES
    styles.write_text(BESIDE_A_SIDEBAR.sub("", styles.read_text()))


if __name__ == "__main__":
    main()
