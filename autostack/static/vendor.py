"""Copy the front end's third-party files from node_modules/ to where web serves them. Run by `make install`."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).parents[2]
TARGET = Path(__file__).parent / "vendor"
FILES = {
    "basecoat-css/dist/basecoat.cdn.min.css": "basecoat.css",
    "htmx.org/dist/htmx.min.js": "htmx.js",
}


def main() -> None:
    """Copy each file of FILES."""
    TARGET.mkdir(exist_ok=True)
    for source, name in FILES.items():
        shutil.copyfile(ROOT / "node_modules" / source, TARGET / name)


if __name__ == "__main__":
    main()
