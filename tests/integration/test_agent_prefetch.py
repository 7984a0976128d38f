"""The build cache that will probably be wanted is read while the repository is cloned."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents import Site, make_site
from tests.integration.test_agent_shelf import FILES, SETTINGS, page


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with make_site(tmp_path, FILES) as site:
        site.keeps_modules = False
        yield site


def archives(site: Site) -> list[str]:
    """Return the `node_modules` that were asked for, by their keys."""
    return [key for key in site.web.wanted if key.startswith("modules-")]


def test_it_is_there_when_the_clone_is(site: Site) -> None:
    assert page(site) == "Hello"
    site.repository.commit({"new.html": "new"})
    site.server.gate.close()
    site.order(settings=SETTINGS)
    agent = site.start()
    assert site.server.gate.reached.wait(60)
    site.web.wait_for_cache("modules-")
    site.server.gate.open()
    assert agent.wait(120) == 0
    assert "install skipped" in site.web.log
    assert len(archives(site)) == 1


def test_another_lock_file_has_another_one(site: Site) -> None:
    page(site)
    site.repository.commit({"package-lock.json": json.dumps({"lockfileVersion": 3, "packages": {}})})
    assert page(site) == "Hello"
    assert "install skipped" not in site.web.log
    likely, wanted = archives(site)
    assert likely != wanted
    site.repository.commit({"package-lock.json": FILES["package-lock.json"]})
    assert page(site) == "Hello"
    assert "install skipped" in site.web.log
    assert archives(site) == [wanted, likely]


def test_one_that_breaks_off_is_as_if_there_were_none(site: Site) -> None:
    page(site)
    site.web.caches = {key: content[: len(content) // 2] for key, content in site.web.caches.items()}
    assert page(site) == "Hello"
    assert "install skipped" not in site.web.log


def test_a_web_that_tells_no_likely_one_is_asked_for_the_right_one(site: Site) -> None:
    page(site)
    site.web.faults.unavailable["cache"] = 1
    assert page(site) == "Hello"
    assert "install skipped" in site.web.log
    assert len(archives(site)) == 1


def test_what_this_machine_has_is_not_read(site: Site) -> None:
    site.keeps_modules = True
    page(site)
    assert page(site) == "Hello"
    assert len(archives(site)) == len(site.web.unchanged) == 1


def test_no_caches_are_no_caches(site: Site) -> None:
    page(site)
    site.order(settings=SETTINGS, limits={"maxCacheBytes": 0})
    site.build()
    assert site.web.wanted == []
