"""Environment variables as owners write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostack.projects.environment import MASK, preview, read_variables


def test_env_text_is_read_as_env_files_are() -> None:
    text = """
    # a comment
    NODE_ENV=production
    export API_URL=https://api.example.com?a=b  # not this
    EMPTY=
    HASH=a#b
    SINGLE='as # it \\n is'
    DOUBLE="two\\nlines \\"quoted\\""
    SPACED = value
    NODE_ENV=twice
    """
    assert read_variables(text) == {
        "NODE_ENV": "twice",
        "API_URL": "https://api.example.com?a=b",
        "EMPTY": "",
        "HASH": "a#b",
        "SINGLE": "as # it \\n is",
        "DOUBLE": 'two\nlines "quoted"',
        "SPACED": "value",
    }


def test_an_object_is_taken_as_it_is() -> None:
    assert read_variables({"A": " kept \n", "_b1": "ü"}) == {"A": " kept \n", "_b1": "ü"}


def test_windows_line_ends_are_line_ends() -> None:
    assert read_variables("A=1\r\nB=2\r\n") == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("A=1\nno equals sign", "line 2"),
        ({"1A": "x"}, "'1A' is no name"),
        ({"A-B": "x"}, "is no name"),
        ({"": "x"}, "is no name"),
        ({"A" * 256: "x"}, "is no name"),
        ({"A": 1}, "value of A must be text"),
        ({"A": None}, "value of A must be text"),
        ({"A": "a\0b"}, "NUL"),
        ({"A": "\ud800"}, "broken"),
        ({f"A{number}": "" for number in range(101)}, "at most 100"),
        ({"A": "x" * 64_000}, "64 kB"),
        ({"A": "ü" * 32_000}, "64 kB"),
        ([], "object"),
        (1, "object"),
    ],
)
def test_what_is_wrong_is_said(wrong: Any, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        read_variables(wrong)


@given(st.text(max_size=60))
def test_a_preview_never_gives_a_value_away(value: str) -> None:
    shown = preview(value).removesuffix(MASK)
    assert len(shown) <= 2
    assert len(shown) * 6 <= len(value)
