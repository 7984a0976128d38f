"""Which file of a site is its icon, and of what kind."""

from __future__ import annotations

import pytest

from autostack.projects.front_page import FrontPage
from autostack.projects.icons import media_type_of


@pytest.mark.parametrize(
    ("page", "paths"),
    [
        ('<link rel="icon" href="/icon.svg">', ["/icon.svg"]),
        ("<LINK REL='shortcut icon' HREF='assets/a%20b.png?v=1#x'>", ["/assets/a b.png"]),
        ('<link rel="icon" href="../../up.png">', ["/up.png"]),
        ('<link rel="icon" href="https://elsewhere.example/icon.png">', []),
        ('<link rel="icon" href="//elsewhere.example/icon.png">', []),
        ('<link rel="icon" href="data:image/png;base64,AAAA">', []),
        ('<link rel="icon" href="http://[broken">', []),
        ('<link rel="icon"><link rel="stylesheet" href="/a.css"><link href="/b.png">', []),
        ("<link rel=icon href=/a.png><link rel=icon href=/b.png>", ["/a.png", "/b.png"]),
        ("no page at all \0 <", []),
        # What HTMLParser gives up at costs only what comes after.
        ("<link rel=icon href=/a.png><![foo[x]]><link rel=icon href=/b.png>", ["/a.png"]),
        ("<link rel=icon href=/a.png>" * 20_000, ["/a.png"]),
        ("".join(f"<link rel=icon href=/{number}.png>" for number in range(100)), [f"/{n}.png" for n in range(5)]),
    ],
)
def test_a_page_names_its_icons(page: str, paths: list[str]) -> None:
    assert FrontPage(page).icons == paths


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n...", "image/png"),
        (b"\x00\x00\x01\x00...", "image/x-icon"),
        (b"GIF89a", "image/gif"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
        (b"\xef\xbb\xbf\n<svg xmlns=", "image/svg+xml"),
        (b"<?xml version='1.0'?><svg/>", "image/svg+xml"),
        (b"<!doctype html><script>", None),
        (b"", None),
    ],
)
def test_a_file_is_what_its_first_bytes_say(data: bytes, kind: str | None) -> None:
    assert media_type_of(data) == kind
