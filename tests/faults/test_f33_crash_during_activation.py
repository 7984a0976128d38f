"""33. Crash during activation under concurrent GETs → old site or new site, never a mixture."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from autostack.local import child
from autostack.settings import load_settings
from autostack.sites.routes import read_route
from autostack.sites.store import Store, open_store
from tests.sites import ROOT, Proxy, running_proxy

CRASHES = 12
PATHS = [f"/part-{number}.txt" for number in range(5)]
# Publishes one deployment after the other until it is killed; all files of one hold its number.
PUBLISHER = """
import sys, itertools
from autostack.settings import load_settings
from autostack.sites.store import open_store
from tests.sites import publish
url, first, project = sys.argv[1], int(sys.argv[2]), sys.argv[3]
paths = sys.argv[4:]
for generation in itertools.count(first):
    files = {path: b"%d" % generation * 1000 for path in paths}
    publish(open_store(load_settings(storage_url=url)), "site", files, generation=generation, project_id=project)
    print(generation, flush=True)
"""
PROJECT = "0b9f4a3e-5a51-4a39-9f0b-2f7a1c6f4d11"


class Visitor(threading.Thread):
    """Asks for the site's files for as long as it may, and keeps what was wrong with an answer."""

    def __init__(self, proxy: Proxy, seed: int) -> None:
        super().__init__()
        self._proxy = proxy
        self._random = random.Random(seed)
        self.wrong: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        newest = 0
        while not self.stop.is_set():
            answer = self._proxy.get(self._random.choice(PATHS))
            number = answer.body[: len(answer.body) // 1000]
            etag = hashlib.sha256(answer.body).hexdigest()
            if answer.status != 200 or answer.body != number * 1000 or answer.headers["etag"] != f'"{etag}"':
                self.wrong.append(f"not one deployment's file: {answer}")
            elif int(number) < newest:
                self.wrong.append(f"{number!r} after {newest}")
            else:
                newest = int(number)


def body_of(generation: int) -> bytes:
    return b"%d" % generation * 1000


def wait_until_shown(proxy: Proxy, generation: int) -> None:
    """Return when the proxy shows a generation: nobody tells it of the switch, so it looks when its route is old."""
    deadline = time.monotonic() + 60
    while proxy.get(PATHS[0]).body != body_of(generation):
        assert time.monotonic() < deadline, f"{generation} is not shown"
        time.sleep(0.05)


def crash_while_publishing(url: str, store: Store, log: Path) -> None:
    """Start a publisher, let it publish at least once, kill it anywhere in the next."""
    route = read_route(store, "site")
    first = route.generation + 1 if route else 1
    with log.open("w") as output:
        command = [sys.executable, "-c", PUBLISHER, url, str(first), PROJECT, *PATHS]
        publisher = child.start(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT)
    while not log.read_text():
        assert publisher.poll() is None
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.05))
    publisher.send_signal(signal.SIGKILL)
    publisher.wait()


def test_f33_visitors_see_the_old_site_or_the_new_one(tmp_path):
    url = f"file://{tmp_path}/store"
    store = open_store(load_settings(storage_url=url))
    with running_proxy(tmp_path, {"STORAGE_URL": url}) as proxy:
        crash_while_publishing(url, store, tmp_path / "publisher.log")
        visitors = [Visitor(proxy, seed) for seed in range(2)]
        for visitor in visitors:
            visitor.start()
        for _ in range(CRASHES):
            crash_while_publishing(url, store, tmp_path / "publisher.log")
            route = read_route(store, "site")
            assert route is not None
            wait_until_shown(proxy, route.generation)
            bodies = {proxy.get(path).body for path in PATHS}
            assert bodies == {body_of(route.generation)}, "a mixture of two deployments"
        for visitor in visitors:
            visitor.stop.set()
            visitor.join()
    assert [visitor.wrong for visitor in visitors] == [[], []]
