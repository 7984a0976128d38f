"""Row 48: a file swapped for a symlink during upload → nothing outside the output leaks."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from autostack.agent.api import Api
from autostack.agent.collect import Output, collect
from autostack.agent.errors import BuildFailed
from autostack.agent.order import Limits
from autostack.agent.upload import uploading
from tests.peers.web_for_agents import ATTEMPT, BOOTSTRAP_TOKEN, LIMITS, FakeWeb, fake_web, make_order

SECRET = b"outside the output"
# Small files are read once, and sent from what was read; this is a large one, and no smaller compressed.
PAGE = os.urandom(200_000)


def replace_file(dist: Path) -> None:
    (dist / "index.html").unlink()
    (dist / "index.html").symlink_to(dist.parent / "secret")


def replace_folder(dist: Path) -> None:
    dist.rename(dist.with_name("moved"))
    dist.symlink_to(dist.parent / "other")


def rewrite(dist: Path) -> None:
    (dist / "index.html").write_bytes(SECRET)


@dataclass
class Listed:
    """A site of one page that has been listed, and is to be sent."""

    dist: Path
    web: FakeWeb
    send: Callable[[], None]


@contextmanager
def listed(folder: Path, page: bytes) -> Iterator[Listed]:
    dist, spool = folder / "dist", folder / "spool"
    for made in (dist, spool, folder / "other"):
        made.mkdir()
    (dist / "index.html").write_bytes(page)
    (folder / "secret").write_bytes(SECRET)
    (folder / "other" / "index.html").write_bytes(SECRET)
    output = Output(folder, PurePosixPath("dist"), Limits(*LIMITS.values()), uid=None)
    order = make_order({"url": "https://git.example.com/a/b"})
    with fake_web(order) as web, contextlib.closing(Api(web.url, ATTEMPT, BOOTSTRAP_TOKEN)) as api:
        api.fetch_order()
        files = list(collect(output, spool, lambda text, level: None))

        def send() -> None:
            with uploading(api, output) as uploads:
                uploads.finish(files, {}, lambda text, level: None)

        yield Listed(dist, web, send)


@pytest.mark.parametrize("swap", [replace_file, replace_folder, rewrite])
def test_f48_what_was_swapped_after_it_was_listed_is_not_sent(tmp_path: Path, swap: Callable[[Path], None]) -> None:
    with listed(tmp_path, PAGE) as site:
        swap(site.dist)
        with pytest.raises(BuildFailed, match=r"`index\.html` was (replaced|changed) while it was uploaded"):
            site.send()
        assert site.web.blobs == {}


def test_f48_of_a_small_file_what_was_read_is_sent_whatever_is_there_by_then(tmp_path: Path) -> None:
    with listed(tmp_path, b"a page of the site") as site:
        replace_file(site.dist)
        site.send()
        assert site.web.content("/index.html") == b"a page of the site"


def test_f48_a_folder_swapped_to_and_fro_never_leaks(tmp_path: Path) -> None:
    dist, spool = tmp_path / "dist", tmp_path / "spool"
    for folder in (dist, spool, tmp_path / "other"):
        folder.mkdir()
    (dist / "page.html").write_bytes(b"own")
    (tmp_path / "other" / "page.html").write_bytes(SECRET)
    (tmp_path / "link").symlink_to(tmp_path / "other")
    output = Output(tmp_path, PurePosixPath("dist"), Limits(*LIMITS.values()), uid=None)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            os.rename(dist, tmp_path / "aside")
            os.rename(tmp_path / "link", dist)
            os.rename(dist, tmp_path / "link")
            os.rename(tmp_path / "aside", dist)

    swapper = threading.Thread(target=swap)
    swapper.start()
    try:
        for _ in range(300):
            try:
                files = list(collect(output, spool, lambda text, level: None))
            except BuildFailed:
                continue
            assert [file.size for file in files] == [3]
    finally:
        stop.set()
        swapper.join()
