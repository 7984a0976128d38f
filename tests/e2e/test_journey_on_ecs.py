"""What a person does, once more: with builds on ECS and sites on S3."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.e2e.test_journey import page  # noqa: F401 - a browser's tab, of this module's stack
from tests.e2e.test_journey import test_a_plain_site_and_a_folder_of_a_monorepo as plain_sites
from tests.e2e.test_journey import test_a_vite_and_react_app_from_sign_up_to_roll_back as main_job
from tests.git_server import GitServer
from tests.peers.ecs import EcsPeer, running_ecs
from tests.s3 import S3Server
from tests.stack import Stack, running_stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def ecs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EcsPeer]:
    """An ECS that really starts the agent for a task."""
    with running_ecs(tmp_path_factory.mktemp("ecs")) as peer:
        yield peer


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, ecs: EcsPeer, s3: S3Server) -> Iterator[Stack]:
    """The whole product, as it runs on AWS."""
    sites = {"STORAGE_URL": f"s3://{s3.bucket}/on-ecs", "S3_ENDPOINT_URL": s3.endpoint_url}
    with running_stack(tmp_path_factory.mktemp("stack"), env={**ecs.environment(), **sites}, builders=1) as running:
        yield running
    assert list((running.data_dir / "builds").glob("*")) == []
    assert ecs.tasks


def test_a_plain_site_and_a_folder_of_a_monorepo_on_ecs(page: Page, git: GitServer, folder: Path):  # noqa: F811
    plain_sites(page, git, folder)


@pytest.mark.timeout(600)
def test_a_vite_and_react_app_from_sign_up_to_roll_back_on_ecs(page: Page, stack: Stack, git: GitServer, folder: Path):  # noqa: F811
    main_job(page, stack, git, folder)
