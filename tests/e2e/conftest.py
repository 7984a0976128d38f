"""What the tests in Chromium share: one running product and one Git server a pytest worker, until the last of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.git_server import GitServer, serve_repositories
from tests.peers.dns_server import DnsServer, running_dns
from tests.stack import Stack, running_stack


@pytest.fixture(scope="package")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the Git server's repositories are."""
    return tmp_path_factory.mktemp("repositories")


@pytest.fixture(scope="package")
def git(folder: Path) -> Iterator[GitServer]:
    """A Git server that a builder reaches over HTTP."""
    with serve_repositories(folder) as server:
        yield server


@pytest.fixture(scope="package")
def dns() -> Iterator[DnsServer]:
    """The DNS that the product asks."""
    with running_dns() as server:
        yield server


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory, dns: DnsServer) -> Iterator[Stack]:
    """The whole product."""
    with running_stack(tmp_path_factory.mktemp("stack"), env={"DNS_SERVERS": dns.address}, builders=1) as running:
        yield running
