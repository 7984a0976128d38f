"""Reading the pages that a test gets as a browser would: by elements, not by the letters of their HTML."""

from __future__ import annotations

from bs4 import BeautifulSoup, Tag
from werkzeug.test import TestResponse


def parsed(answered: TestResponse) -> BeautifulSoup:
    """Return the page of an answer that succeeded."""
    assert answered.status_code == 200, answered.text[:2000]
    return BeautifulSoup(answered.text, "html.parser")


def text_of(page: Tag, selector: str) -> str:
    """Return what the one element says, its white space drawn together."""
    [found] = page.select(selector)
    return " ".join(found.get_text(" ").split())


def links(page: Tag) -> set[str]:
    """Return where the links of a page, or of a part of it, lead."""
    return {str(link["href"]) for link in page.select("a[href]")}


def fields(page: Tag, selector: str) -> dict[str, str]:
    """Return what the one form would send if nobody touched it."""
    [form] = page.select(selector)
    chosen = {str(field["name"]): field for field in form.select("input[name], textarea[name]")}
    unchecked = {
        name for name, field in chosen.items() if field.get("type") == "checkbox" and "checked" not in field.attrs
    }
    return {
        name: field.get_text() if field.name == "textarea" else str(field.get("value", ""))
        for name, field in chosen.items()
        if name not in unchecked
    }
