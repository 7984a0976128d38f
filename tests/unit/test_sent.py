"""What was written to a connection and never taken: whose answers those bytes were."""

from __future__ import annotations

import uuid

from autostack.proxy.counts import Counts
from autostack.proxy.hops import Hops, Peer
from autostack.proxy.messages import Request
from autostack.proxy.sent import MAX_CHANGES, Sent
from autostack.sites.routes import Route


def route():
    return Route("site", 1, str(uuid.uuid4()), str(uuid.uuid4()))


def test_the_last_answers_are_those_that_were_not_taken():
    one, other, sent = route(), route(), Sent()
    for whose, size in ((one, 100), (one, 100), (None, 50), (other, 30)):
        sent.add(whose, size)
    assert list(sent.not_taken(280)) == []
    assert list(sent.not_taken(270)) == [(other, 10)]
    assert list(sent.not_taken(150)) == [(other, 30), (one, 50)]
    assert list(sent.not_taken(1_000)) == []


def test_who_changes_sites_without_end_is_not_remembered_without_end():
    sent = Sent()
    for _ in range(3 * MAX_CHANGES):
        sent.add(route(), 1)
    assert len(list(sent.not_taken(0))) == MAX_CHANGES + 1


def test_what_was_not_taken_is_subtracted_once_and_never_below_nothing():
    site, counts = route(), Counts()
    request = Request(b"GET", b"/", b"", "site.localhost", {}, peer=Peer("192.0.2.1", Hops()))

    def sent(size):
        counts.note(site, request, b"200", size)
        return sum(part.sent_bytes for batch in counts.take() for part in batch.sites)

    assert sent(1_000) == 1_000
    counts.take_back(site, 900)
    assert [sent(500), sent(500), sent(500)] == [0, 100, 500]
