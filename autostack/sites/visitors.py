"""How many different visitors there were, without keeping who: a HyperLogLog of 4,096 registers.

What is counted is a keyed hash of a visitor's address and User-Agent. Its key, the salt, is another one each day and is
deleted two days later; of the hash itself only a register's number and a count of zero bits stay. The estimate is that
of O. Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017): about 1.6 percent off, for few
visitors and many alike.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter

INDEX_BITS = 12
REGISTERS = 1 << INDEX_BITS
RANK_BITS = 64 - INDEX_BITS
# The register's number in two bytes, its rank in one.
ENTRY_BYTES = 3
MAX_BYTES = REGISTERS * ENTRY_BYTES


class Visitors:
    """A set of visitors that only knows about how many they are. Only used registers are kept: most sites have few."""

    def __init__(self) -> None:
        self._ranks: dict[int, int] = {}

    def add(self, salt: bytes, address: str, user_agent: bytes) -> None:
        """Count a visitor, unless he was counted under the same salt before. `salt` has at most 64 bytes."""
        digest = hashlib.blake2b(b"\0".join((address.encode(), user_agent)), digest_size=8, key=salt).digest()
        number = int.from_bytes(digest)
        rank = RANK_BITS + 1 - (number & ((1 << RANK_BITS) - 1)).bit_length()
        self._raise(number >> RANK_BITS, rank)

    def merge(self, other: Visitors) -> None:
        """Count those of another set, too; who is in both counts once."""
        for index, rank in other._ranks.items():
            self._raise(index, rank)

    def estimate(self) -> int:
        """Return about how many visitors were counted."""
        ranks = Counter(self._ranks.values())
        empty = (REGISTERS - len(self._ranks)) / REGISTERS
        if empty == 1:
            return 0
        total = 0.0
        for rank in range(RANK_BITS + 1, 0, -1):
            total = (total + ranks[rank]) / 2
        return round(REGISTERS * REGISTERS / (2 * math.log(2)) / (total + REGISTERS * _sigma(empty)))

    def to_bytes(self) -> bytes:
        """Return the used registers, in the order of their numbers."""
        return b"".join(index.to_bytes(2) + bytes([rank]) for index, rank in sorted(self._ranks.items()))

    @classmethod
    def from_bytes(cls, data: bytes) -> Visitors:
        """Read what `to_bytes` wrote. Raises ValueError for anything else."""
        if len(data) % ENTRY_BYTES or len(data) > MAX_BYTES:
            raise ValueError("not the registers of a HyperLogLog")
        visitors = cls()
        for start in range(0, len(data), ENTRY_BYTES):
            index, rank = int.from_bytes(data[start : start + 2]), data[start + 2]
            if index >= REGISTERS or not 1 <= rank <= RANK_BITS + 1:
                raise ValueError("not the registers of a HyperLogLog")
            visitors._raise(index, rank)
        return visitors

    def _raise(self, index: int, rank: int) -> None:
        if rank > self._ranks.get(index, 0):
            self._ranks[index] = rank


def _sigma(empty: float) -> float:
    """Return the paper's sigma: what registers that are empty say. `empty` is their share, below 1."""
    power, weight, total = empty, 1.0, empty
    while (power := power * power) > 0 and (more := total + power * weight) != total:
        total, weight = more, weight * 2
    return total
