"""The icons that templates draw: lucide's SVGs, inlined, in the colour of the text around them."""

from __future__ import annotations

import re
from pathlib import Path

from markupsafe import Markup

from autostack.errors import ConfigurationError

SHAPES = re.compile(r"<svg[^>]*>(.*)</svg>", re.DOTALL)
FRAME = (
    '<svg class="icon" aria-hidden="true" width="16" height="16" viewBox="0 0 24 24" fill="none" '
    'stroke="currentColor" stroke-width="2" stroke-linecap="round" stroke-linejoin="round">{shapes}</svg>'
)


class Icons:
    """The vendored icons by name, read once. Call it with a name for the SVG to put into a page."""

    def __init__(self, folder: Path) -> None:
        self._by_name = {file.stem: _inline(file.read_text()) for file in sorted(folder.glob("*.svg"))}

    def __call__(self, name: str) -> Markup:
        """Return the icon, 16 pixels wide, silent to screen readers. Raises ConfigurationError where there is none."""
        if name not in self._by_name:
            raise ConfigurationError(f"The icon {name} is not in static/vendor/icons: run `make install`")
        return self._by_name[name]


def _inline(svg: str) -> Markup:
    match = SHAPES.search(svg)
    shapes = re.sub(r"\s*\n\s*", "", match[1]) if match else ""
    return Markup(FRAME.format(shapes=shapes))  # noqa: S704  # a vendored file, not a visitor's words
