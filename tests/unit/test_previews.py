"""What a front page says of itself, and what is drawn of it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from autostack.projects.front_page import FrontPage
from autostack.projects.previews import sheet

PAGE = """<!doctype html><title> Field
 notes </title><meta name="description" content="Tides and &quot;herons&quot;">
<meta name="theme-color" content="#0f766e"><meta property="og:image" content="/card.png">
<meta name="twitter:image" content="https://elsewhere.example/card.png">
<h1>Notes <em>from</em> the shore</h1><h1>Another</h1><svg><title>not this</title></svg>"""


def test_a_front_page_tells_its_words_its_colour_and_its_picture() -> None:
    page = FrontPage(PAGE)
    assert (page.title, page.heading, page.colour) == ("Field notes", "Notes from the shore", "#0f766e")
    assert (page.description, page.pictures) == ('Tides and "herons"', ["/card.png"])


def texts(drawing: str) -> list[str]:
    """Return a drawing's lines; it must be XML, whatever is on it."""
    return [str(text.text) for text in ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}text")]


@pytest.mark.parametrize(
    ("page", "lines"),
    [
        (PAGE, ["Field notes", "Notes from the shore", 'Tides and "herons"']),
        ("<title>Shop</title>", ["Shop"]),
        ("<div id=root></div>", ["portfolio"]),
        ("<h1>" + "word " * 100, ["word word word word word", "word word word word word…"]),
        ("<h1>From your<br>own <b>ma</b>chine</h1>", ["From your own machine"]),
        ("<h1>" + "x" * 300, ["x" * 25, "…"]),
        ("<h1>\x00\x1b\ufffe&lt;script&gt;</h1>", ["<script>"]),
    ],
)
def test_the_sheet_has_the_sites_words_or_else_the_projects_name(page: str, lines: list[str]) -> None:
    assert texts(sheet("portfolio", FrontPage(page))) == lines


def test_what_is_smuggled_into_a_colour_stays_a_colour() -> None:
    page = FrontPage("""<meta name=theme-color content='"/><script>alert(1)</script>'>""")
    root = ElementTree.fromstring(sheet("site", page))
    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
