"""Colours of log lines: as classes, safe to show, or left out."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostack.deployments.ansi import plain, to_html

ESC = "\x1b"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("plain", "plain"),
        ("<script>", "&lt;script&gt;"),
        (f"{ESC}[31mred{ESC}[0m after", '<span class="ansi-31">red</span> after'),
        (f"{ESC}[1;32mbold green", '<span class="ansi-1 ansi-32">bold green</span>'),
        (f"{ESC}[31m{ESC}[32mgreen", '<span class="ansi-32">green</span>'),
        (f"{ESC}[1;31mboth{ESC}[22mred{ESC}[39mnone", None),
        (f"{ESC}[mreset", "reset"),
        (f"{ESC}[38;5;31mpalette", "palette"),
        (f"{ESC}[38;2;1;4;9mtrue colour", "true colour"),
        (f"{ESC}[31m<b>", '<span class="ansi-31">&lt;b&gt;</span>'),
    ],
)
def test_colours_become_classes(text, html):
    expected = html or '<span class="ansi-1 ansi-31">both</span><span class="ansi-31">red</span>none'
    assert to_html(text) == expected


def test_plain_text_has_no_colours():
    assert plain(f"{ESC}[1;31mred{ESC}[0m") == "red"


@given(st.text(alphabet=f"{ESC}[];0123456789m<>&\"'ab", max_size=60))
def test_no_text_makes_any_tag_but_our_span(text):
    rest = re.sub(r'<span class="ansi-\d+( ansi-\d+)*">|</span>', "", to_html(text))
    assert "<" not in rest
    assert ">" not in rest
