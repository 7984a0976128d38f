"""Projects of other package managers than npm, from their lock files to their live pages."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.git_server import GitServer, make_repository
from tests.stack import Stack

pytestmark = pytest.mark.slow

APPS = Path(__file__).parent / "apps"


@pytest.mark.parametrize("manager", ["pnpm", "yarn"])
def test_a_project_is_built_by_the_package_manager_of_its_lock_file(
    manager: str, stack: Stack, git: GitServer, folder: Path
):
    app = APPS / manager
    make_repository(folder / manager, {str(f.relative_to(app)): f.read_text() for f in app.rglob("*") if f.is_file()})
    stack.sign_up(f"{manager}@example.com")

    deployment = stack.ended(stack.deploy(git.url(manager)))

    lines = "\n".join(deployment["logs"])
    assert deployment["status"] == "success", lines
    assert f"{manager} install" in lines
    assert f"built by {manager}" in stack.get_site(deployment["url"]).text
