"""37. Slowloris and slow readers (`slowhttptest`) → a healthy client is not affected."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from autostack.local import child
from autostack.settings import load_settings
from autostack.sites.store import open_store
from tests.sites import Proxy, publish, running_proxy

SECONDS = 6
HOST = "127.0.0.1"
BIG = bytes(range(256)) * 8_000
# Their own words: slow heads, slow bodies, slow readers, each of them with more connections than we allow.
ATTACKS = {
    "slowloris": ["-H", "-i", "1"],
    "slow bodies": ["-B", "-i", "1", "-s", "8192", "-t", "GET"],
    "slow readers": ["-X", "-k", "4", "-n", "1", "-w", "1", "-y", "2", "-z", "1"],
}


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    folder = tmp_path_factory.mktemp("f37")
    url = f"file://{folder}/store"
    publish(open_store(load_settings(storage_url=url)), "127", {"/big.bin": BIG, "/small.txt": b"small"})
    # slowhttptest asks for what it can resolve only: 127.0.0.1 is the site `127` here.
    given = {
        "STORAGE_URL": url,
        "SITES_DOMAIN": HOST.partition(".")[2],
        "PROXY_HEADER_TIMEOUT": 2,
        "PROXY_IDLE_TIMEOUT": 2,
    }
    with running_proxy(folder, given, ["prlimit", "--nofile=500:500"]) as running:
        yield running


@pytest.mark.parametrize("attack", ATTACKS)
def test_f37_a_healthy_visitor_is_answered_all_the_while(proxy: Proxy, attack: str, tmp_path: Path) -> None:
    assert shutil.which("slowhttptest"), "this test needs slowhttptest: install the package of that name"
    command = ["slowhttptest", *ATTACKS[attack], "-c", "400", "-r", "200", "-l", str(SECONDS), "-p", "2"]
    url = f"http://{HOST}:{proxy.port}/big.bin"
    with (tmp_path / "said").open("wb") as said:
        attacker = child.start([*command, "-u", url], stdout=said, stderr=subprocess.STDOUT)
        answers = []
        try:
            while attacker.poll() is None:
                answers.append(proxy.get("/small.txt", host=HOST))
        finally:
            child.end_group(attacker.pid)
            attacker.wait()
    assert "connected" in (tmp_path / "said").read_text(errors="replace")
    assert answers
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"small")}
    assert proxy.get("/big.bin", host=HOST).body == BIG
