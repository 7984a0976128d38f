"""Visitors of a built site who look all the while whether what they see is one deployment's, and whole."""

from __future__ import annotations

import random
import threading
from typing import Self

import httpx2

from tests.stack import Stack

# Enough for a change between two requests to show, and small enough to be uploaded in a moment.
NAMES = [f"part-{number}.txt" for number in range(5)]
REPEATS = 500


def pages(version: str) -> dict[str, str]:
    """Return the files of a site that all say which version of it they are of. It needs no build."""
    return {"index.html": version, **dict.fromkeys(NAMES, f"{version}\n" * REPEATS)}


class Visitor(threading.Thread):
    """Asks for a site's files, one after the other, while the block runs. `versions` are those that it saw, in order.

    `wrong` are answers that are neither a whole file nor, where `may_fail`, an honest 503.
    """

    def __init__(self, stack: Stack, url: str, *, may_fail: bool = False) -> None:
        super().__init__(daemon=True)
        self._stack = stack
        self._url = url
        self._may_fail = may_fail
        self._done = threading.Event()
        self.versions: list[str] = []
        self.wrong: list[str] = []
        self.failures = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self.join()

    def run(self) -> None:
        while not self._done.is_set():
            name = random.choice(NAMES)
            try:
                self._note(self._stack.get_site(self._url, f"/{name}"))
            except httpx2.HTTPError as error:
                self.wrong.append(f"{name}: {error!r}")

    def _note(self, response: httpx2.Response) -> None:
        version = response.text.partition("\n")[0]
        if response.status_code == 503 and self._may_fail:
            self.failures += 1
        elif response.status_code != 200 or response.text != f"{version}\n" * REPEATS:
            self.wrong.append(f"{response.status_code}: {response.text[:200]}")
        elif not self.versions or self.versions[-1] != version:
            self.versions.append(version)


def versions_shown(stack: Stack, url: str) -> set[str]:
    """Return which versions all files of the site are of: one, unless they are a mixture."""
    return {stack.get_site(url, f"/{name}").text.partition("\n")[0] for name in NAMES}
