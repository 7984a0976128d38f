"""Lines, masks and batches."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autostack.agent.lines import LineAssembler, cut, printable
from autostack.agent.logs import Log, LogLine
from autostack.agent.mask import Masker, is_secret
from autostack.agent.text import duration, size


def assemble(*chunks: bytes, max_bytes: int = 1000) -> list[str]:
    assembler = LineAssembler(max_bytes)
    return [text for chunk in chunks for text, _ in assembler.feed(chunk)] + [text for text, _ in assembler.finish()]


@given(st.lists(st.text(alphabet="ab é\u20ac", max_size=20), max_size=10), st.integers(1, 7))
def test_lines_come_out_whole_however_they_were_written(lines: list[str], step: int) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    chunks = [content[start : start + step] for start in range(0, len(content), step)]
    assert assemble(*chunks) == lines


@pytest.mark.parametrize(
    "chunks, lines",
    [
        ((b"10%\r50%\r100%\n",), ["100%"]),
        ((b"10%\r", b"50%\r", b"100%", b"\n"), ["100%"]),
        ((b"windows\r\nline\r", b"\n"), ["windows", "line"]),
        ((b"a\r\r\n",), ["a"]),
        ((b"x" * 5000 + b"\r", b"short\n"), ["short"]),
        ((b"no end",), ["no end"]),
    ],
)
def test_a_carriage_return_starts_its_line_anew(chunks: tuple[bytes, ...], lines: list[str]) -> None:
    assert assemble(*chunks) == lines


def test_a_long_line_is_cut_and_says_by_how_much() -> None:
    assembler = LineAssembler(100)
    assert assembler.feed(b"a" * 150 + b"\n") == [("a" * 100, 50)]
    text = cut("a" * 100, 100, 50)
    assert text.endswith("… [line cut: 50 bytes more]")
    assert len(text.encode()) <= 100


@given(st.text())
def test_what_is_printable_has_no_control_character(text: str) -> None:
    cleaned = printable(text)
    assert not any(character < " " and character not in "\t\x1b" for character in cleaned)
    assert printable(cleaned) == cleaned


@given(st.text(min_size=8, max_size=40).filter(is_secret), st.binary(max_size=5), st.binary(max_size=5))
def test_a_secret_is_masked_in_base64_wherever_it_begins(secret: str, before: bytes, after: bytes) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    masker = Masker({"A": secret})
    # The characters that the secret shares with its neighbours remain: at most one at each end, and the neighbours.
    assert len(masker.mask(encoded).replace("***", "")) <= 4 * 5 + 4 or "***" in masker.mask(encoded)
    assert "***" in masker.mask(encoded)


@pytest.mark.parametrize("value", ["true", "8080", "production", "", "short"])
def test_what_everybody_has_is_not_masked(value: str) -> None:
    assert Masker({"A": value}).mask(f"x {value} y") == f"x {value} y"


def test_the_credential_and_a_json_text_with_escapes_are_masked() -> None:
    masker = Masker({"A": 'pass"word\\one', "B": "line one of it\nline two of it"})
    assert masker.mask('{"a": "pass\\"word\\\\one"}') == '{"a": "***"}'
    assert masker.mask("line two of it") == "***"


def test_the_times_of_lines_go_on_from_what_has_elapsed() -> None:
    lines: list[LogLine] = []
    log = Log(lines.append, Masker({}), max_line_bytes=100, max_log_bytes=1000, elapsed_ms=5_000)
    log.line("first\nsecond")
    assert [line.text for line in lines] == ["first", "second"]
    assert all(5_000 <= line.elapsed_ms < 60_000 for line in lines)


@pytest.mark.parametrize(
    "milliseconds, text",
    [(320, "320ms"), (3_200, "3.2s"), (3_000, "3s"), (42_000, "42s"), (600_000, "10m 0s"), (3_780_000, "1h 3m")],
)
def test_durations_read_as_in_the_dashboard(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


@pytest.mark.parametrize("count, text", [(512, "512 B"), (1_500, "1.5 kB"), (25_000_000, "25 MB"), (5 * 10**9, "5 GB")])
def test_sizes_are_in_powers_of_a_thousand(count: int, text: str) -> None:
    assert size(count) == text
