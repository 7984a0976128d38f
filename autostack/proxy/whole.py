"""What many ask for: requests that need not be parsed again, and their answers with the date of this second in them.

To copy the body of each answer behind its head would cost about as much as all else that we do for a hit: it is done
once a second. And what asks for it comes mostly in the very bytes that it came in a moment ago, from the same browser
or one of its kind: it is known then what they say.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from email.utils import formatdate

from autostack.proxy.counts import Told
from autostack.proxy.hops import Peer
from autostack.proxy.messages import Request, Response, Tally
from autostack.proxy.routes import Site

# Larger bodies are not copied behind their heads at all.
SMALL_BODY_BYTES = 64 * 1024
MAX_WHOLE_BYTES = 12_000_000
# Of requests that are known, which take about so much more than the bytes that they came in, and so many times those.
MAX_KNOWN_BYTES = 16_000_000
KNOWN_BYTES, KNOWN_TIMES = 1_500, 3
# What visitors sent stays no longer than that.
KNOWN_FOR_S = 60
# Different requests of which is noted that they came.
MAX_SEEN = 50_000


@dataclass(slots=True, eq=False)
class Known:
    """A request that came whole and alone in certain bytes, and what it got, as long as the site is what it was."""

    request: Request
    site: Site
    tally: Tally
    told: Told | None

    def again(self, peer: Peer) -> Request:
        """Return the same request as it comes from this peer."""
        one = self.request
        return Request(one.method, one.path, one.query, one.host, one.headers, peer=peer, accepts=one.accepts)


class WholeAnswers:
    """The answers of this second. `end_of_head` has what all of them end their heads with: the date, and no more."""

    def __init__(self) -> None:
        self.end_of_head = b""
        self._answers: dict[Tally, bytes] = {}
        self._room = 0
        self._seen: set[int] = set()
        self._known: dict[bytes, Known] = {}
        self._known_bytes = 0
        # Return what a request in these very bytes says, and the answer that a tally counts. Called for every request.
        self.known = self._known.get
        self.at_hand = self._answers.get
        self._second = -1

    def begin_second(self) -> None:
        """Take note of the time. To be called several times a second."""
        second = int(time.time())
        if second != self._second:
            if second // KNOWN_FOR_S != self._second // KNOWN_FOR_S:
                self._forget()
            self._second = second
            self.end_of_head = f"Date: {formatdate(second, usegmt=True)}\r\n\r\n".encode()
            self._answers.clear()
            self._room = MAX_WHOLE_BYTES

    def get(self, response: Response) -> bytes | None:
        """Return a prepared answer in one piece, None if it is too large for that, or if there were too many."""
        whole = self._answers.get(response.tally) if response.tally is not None else None
        if whole is None and len(response.body) <= SMALL_BODY_BYTES and self._room > 0 and response.tally is not None:
            whole = b"".join((response.head, self.end_of_head, response.body))
            self._answers[response.tally] = whole
            self._room -= len(whole)
        return whole

    def is_frequent(self, asked: bytes) -> bool:
        """Tell whether a request came in these bytes before, in this minute: to remember each would cost too much."""
        name = hash(asked)
        if name in self._seen:
            return True
        if len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        self._seen.add(name)
        return False

    def remember(self, asked: bytes, known: Known) -> None:
        """Take note of what a request says that came in these bytes. When there are too many, it begins anew."""
        if asked not in self._known:
            self._known_bytes += KNOWN_BYTES + KNOWN_TIMES * len(asked)
            if self._known_bytes > MAX_KNOWN_BYTES:
                self._forget()
        self._known[asked] = known

    def _forget(self) -> None:
        self._seen.clear()
        self._known.clear()
        self._known_bytes = 0
