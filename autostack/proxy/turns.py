"""Turns at what only so many may do at once: who asks for very many waits behind himself, and not before others."""

from __future__ import annotations

import asyncio


class Turns:
    """Turns for many, of whom each one gets one before anybody gets another. For one event loop."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        # Who waits, in the order in which they are next; and for what, in the order in which they asked.
        self._waiting: dict[str, dict[asyncio.Future[None], None]] = {}

    async def take(self, who: str) -> None:
        """Wait for a turn, which has to be given back."""
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, {})[turn] = None
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(who, turn)
            else:
                # It came as he left.
                self.give_back()
            raise

    def give_back(self) -> None:
        """End a turn: the next one's begins."""
        while self._waiting:
            who = next(iter(self._waiting))
            turn = next(iter(self._waiting[who]))
            self._leave(who, turn)
            if who in self._waiting:
                # Behind all who wait.
                self._waiting[who] = self._waiting.pop(who)
            # He may have left a moment ago, and not know it yet.
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _leave(self, who: str, turn: asyncio.Future[None]) -> None:
        turns = self._waiting.get(who, {})
        turns.pop(turn, None)
        if not turns:
            self._waiting.pop(who, None)
