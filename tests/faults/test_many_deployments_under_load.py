"""Fifty deployments while visitors read: each page that was opened gets its own scripts, and none is a 404."""

from __future__ import annotations

import random
import threading

import pytest

from autostack.settings import load_settings
from autostack.sites.store import open_store
from tests.faults.watching import wait_for
from tests.sites import Proxy, publish, running_proxy

DEPLOYMENTS = 50
VISITORS = 3


def script(number: int) -> str:
    return f"/assets/app-{number:06x}a1.js"


def files(number: int) -> dict[str, bytes]:
    """Return a single-page application, whose page must not answer for a script that is missing."""
    return {
        "/index.html": script(number).encode(),
        script(number): b"of %d" % number,
        "/assets/same-00ffee11.js": b"same",
    }


class Visitor(threading.Thread):
    """Opens the page now and then, and asks for the script of any that it has opened: by then others are live."""

    def __init__(self, proxy: Proxy, seed: int) -> None:
        super().__init__(daemon=True)
        self._proxy = proxy
        self._random = random.Random(seed)
        self.done = threading.Event()
        self.wrong: list[str] = []

    def run(self) -> None:
        opened: list[str] = []
        while not self.done.is_set():
            opened.append(self._proxy.get("/").body.decode())
            asked = self._random.choice(opened)
            number = int(asked.removeprefix("/assets/app-").removesuffix("a1.js"), 16)
            answer = self._proxy.get(asked, Accept="*/*")
            if (answer.status, answer.body) != (200, b"of %d" % number):
                self.wrong.append(f"{asked}: {answer.status} {answer.body[:50]!r}")


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/store"


def test_no_visitor_misses_a_script_over_fifty_deployments(url, tmp_path):
    store = open_store(load_settings(storage_url=url))
    route = publish(store, "site", files(0))
    former: list[str] = []
    with running_proxy(tmp_path, {"STORAGE_URL": url, "PROXY_WORKERS": 2}) as proxy:
        visitors = [Visitor(proxy, seed) for seed in range(VISITORS)]
        for visitor in visitors:
            visitor.start()
        for number in range(1, DEPLOYMENTS + 1):
            former = [route.deployment_id, *former]
            route = publish(
                store,
                "site",
                files(number),
                generation=number + 1,
                project_id=route.project_id,
                former=former,
            )
            shown = script(number).encode()
            wait_for(lambda shown=shown: proxy.get("/").body == shown)
        for visitor in visitors:
            visitor.done.set()
            visitor.join()
        assert [visitor.wrong for visitor in visitors] == [[]] * VISITORS
        assert all(proxy.get(script(number)).body == b"of %d" % number for number in range(DEPLOYMENTS + 1))
        assert proxy.get(script(DEPLOYMENTS + 1)).status == 404
