"""Answers that are put together once a second."""

from __future__ import annotations

from autostack.proxy import whole
from autostack.proxy.messages import Request, Response, Tally
from autostack.proxy.routes import Site
from autostack.sites.routes import Route


def prepared(body: bytes, tally: Tally | None = None) -> Response:
    return Response(b"HTTP/1.1 200 OK\r\n", body, tally=tally or Tally("project", False, b"/", True, b"200"))


def test_an_answer_is_put_together_once_and_has_the_date(monkeypatch):
    answers = whole.WholeAnswers()
    monkeypatch.setattr(whole.time, "time", lambda: 0.5)
    answers.begin_second()
    response = prepared(b"body")
    first = answers.get(response)
    assert first == b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\nbody"
    assert answers.get(response) is first
    monkeypatch.setattr(whole.time, "time", lambda: 0.9)
    answers.begin_second()
    assert answers.get(response) is first
    monkeypatch.setattr(whole.time, "time", lambda: 1.1)
    answers.begin_second()
    assert b"00:00:01 GMT" in (answers.get(response) or b"")


def test_what_is_large_or_too_much_or_not_prepared_is_not_put_together():
    answers = whole.WholeAnswers()
    answers.begin_second()
    assert answers.get(prepared(b"x" * (whole.SMALL_BODY_BYTES + 1))) is None
    assert answers.get(Response(b"HTTP/1.1 200 OK\r\n", b"body")) is None
    many = [answers.get(prepared(b"x" * 60_000)) for _ in range(300)]
    kept = [one for one in many if one is not None]
    assert 150 < len(kept) < 300
    assert sum(map(len, kept)) < whole.MAX_WHOLE_BYTES + 70_000


def known() -> whole.Known:
    tally = Tally("project", False, b"/", True, b"200")
    asked = Request(b"GET", b"/", b"", "site.localhost", {})
    return whole.Known(asked, Site(Route("site", 1, "project", "deployment")), tally, None)


def test_what_is_asked_for_again_is_known_for_a_minute(monkeypatch):
    answers = whole.WholeAnswers()
    monkeypatch.setattr(whole.time, "time", lambda: 0.5)
    answers.begin_second()
    assert [answers.is_frequent(b"GET /") for _ in range(3)] == [False, True, True]
    one = known()
    answers.remember(b"GET /", one)
    assert answers.known(b"GET /") is one
    assert answers.known(b"GET /x") is None
    monkeypatch.setattr(whole.time, "time", lambda: 1.5)
    answers.begin_second()
    assert answers.known(b"GET /") is one
    assert answers.is_frequent(b"GET /")
    # The second in which a minute begins may pass without anybody's taking note of it.
    monkeypatch.setattr(whole.time, "time", lambda: 61.5)
    answers.begin_second()
    assert answers.known(b"GET /") is None
    assert not answers.is_frequent(b"GET /")


def test_requests_without_number_take_bounded_memory():
    answers = whole.WholeAnswers()
    answers.begin_second()
    asked = [b"GET /%d " % number + b"x" * 2_000 for number in range(20_000)]
    for one in asked:
        answers.remember(one, known())
    kept = [one for one in asked if answers.known(one) is not None]
    assert 0 < len(kept) < 5_000
    assert answers.known(asked[-1]) is not None
    for _ in range(20_000):
        answers.remember(asked[-1], known())
    assert all(answers.known(one) is not None for one in kept), "to be asked for again takes no room"
    for number in range(whole.MAX_SEEN):
        answers.is_frequent(b"%d" % number)
    assert [answers.is_frequent(b"one more") for _ in range(2)] == [False, True]
    assert not answers.is_frequent(b"0"), "it begins anew"
