"""How often somebody may try something, whichever of the proxy's processes he is dealt to.

What each has left stands in memory that the processes share, as the counts of `metrics.py` do, and without a lock: two
that write at the same moment lose an attempt between them, which is of no account.
"""

from __future__ import annotations

import hashlib
import mmap
import secrets
from struct import Struct

# Whose it is, as a hash, what is left, and when that was, on the monotonic clock, which all processes have together.
SLOT = Struct("=Qdd")
SLOTS_A_SET = 8
SETS = 8_192


class Buckets:
    """Room for what many have left, in as much memory however many come. Made before the processes are.

    Each has a place in one set of a few; where that is full, who came last longest ago gives way. Nobody can choose in
    whose set he is.
    """

    def __init__(self, sets: int = SETS) -> None:
        self._sets = sets
        self._key = secrets.token_bytes(16)
        self._memory = mmap.mmap(-1, sets * SLOTS_A_SET * SLOT.size)

    def find(self, who: str) -> tuple[int, int, tuple[float, float] | None]:
        """Return somebody's place and number, for `put`, and what he had left and when, if that is known."""
        number = int.from_bytes(hashlib.blake2b(who.encode(), key=self._key, digest_size=8).digest())
        start = number % self._sets * SLOTS_A_SET * SLOT.size
        slots = [SLOT.unpack_from(self._memory, start + place * SLOT.size) for place in range(SLOTS_A_SET)]
        for place, (whose, left, at) in enumerate(slots):
            if whose == number and at:
                return start + place * SLOT.size, number, (left, at)
        oldest = min(range(SLOTS_A_SET), key=lambda place: slots[place][2])
        return start + oldest * SLOT.size, number, None

    def put(self, place: int, number: int, left: float, at: float) -> None:
        SLOT.pack_into(self._memory, place, number, left, at)


class Attempts:
    """How many attempts each of many may make: some at once, and then as time goes by. `name` tells kinds apart."""

    def __init__(self, name: str, burst: int, per_second: float, buckets: Buckets) -> None:
        self._name = name
        self._burst = burst
        self._per_second = per_second
        self._buckets = buckets

    def take(self, who: str, now: float) -> bool:
        """Count an attempt, at a time on the monotonic clock; tell whether there was one left."""
        place, number, known = self._buckets.find(f"{self._name} {who}")
        left, at = known or (self._burst, now)
        left = min(self._burst, left + max(0.0, now - at) * self._per_second)
        is_left = left >= 1
        self._buckets.put(place, number, left - is_left, now)
        return is_left
