"""When an install may be skipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from autostack.agent.cache_keys import cache_keys
from autostack.agent.detect import make_plan
from autostack.agent.order import BuildSettings


def may_be_skipped(folder: Path, manager: str = "npm", files: dict[str, str] | None = None, **package: Any) -> bool:
    """Tell whether an install of this package.json has a key to be skipped by."""
    locks = {"npm": "package-lock.json", "yarn": "yarn.lock", "pnpm": "pnpm-lock.yaml"}
    scripts = {"build": "vite build", **package.pop("scripts", {})}
    written = {"package.json": json.dumps({"scripts": scripts, **package}), locks[manager]: "", **(files or {})}
    for name, content in written.items():
        (folder / name).write_text(content)
    keys = cache_keys(folder, make_plan(folder, BuildSettings()), "20.0.0", "install")
    assert keys is not None
    return keys.modules is not None


@pytest.mark.parametrize("manager", ["npm", "yarn", "pnpm"])
@pytest.mark.parametrize("version", ["^18", "4.17.21", "npm:lodash@4", "workspace:*", "git+https://a.example/b.git"])
def test_an_install_of_what_the_lock_file_holds_may_be_skipped(tmp_path: Path, manager: str, version: str) -> None:
    assert may_be_skipped(tmp_path, manager, dependencies={"lib": version}, workspaces=["./packages/*"])


# npm too copies such a folder, with its option install-links.
@pytest.mark.parametrize("manager", ["npm", "yarn", "pnpm"])
@pytest.mark.parametrize("version", ["file:lib", "link:lib", "portal:lib", "exec:./make.js", "./lib", "../lib", "/lib"])
def test_an_install_of_a_folder_is_never_skipped(tmp_path: Path, manager: str, version: str) -> None:
    assert not may_be_skipped(tmp_path, manager, devDependencies={"lib": version})


@pytest.mark.parametrize(
    "field",
    [
        {"overrides": {"other": {"lib": "file:lib"}}},
        {"resolutions": {"lib": "file:lib"}},
        {"pnpm": {"overrides": {"lib": "file:lib"}}},
    ],
)
def test_an_install_that_puts_a_folder_in_the_place_of_a_package_is_never_skipped(
    tmp_path: Path, field: dict[str, Any]
) -> None:
    assert not may_be_skipped(tmp_path, **field)


def test_a_folder_that_the_workspace_of_pnpm_names_counts_too(tmp_path: Path) -> None:
    workspace = "packages:\n  - ./packages/*\n"
    assert may_be_skipped(tmp_path, "pnpm", {"pnpm-workspace.yaml": workspace})
    workspace += "overrides:\n  lib: 'file:lib'\n"
    assert not may_be_skipped(tmp_path, "pnpm", {"pnpm-workspace.yaml": workspace})


@pytest.mark.parametrize(
    "script", ["preinstall", "install", "postinstall", "prepublish", "prepare", "dependencies", "pnpm:devPreinstall"]
)
def test_an_install_that_runs_a_script_is_never_skipped(tmp_path: Path, script: str) -> None:
    assert not may_be_skipped(tmp_path, scripts={script: "touch made"})


def test_json_nested_deeper_than_it_can_be_written_is_no_key_and_no_error(tmp_path: Path) -> None:
    for depth in range(900, 1_000, 5):
        text = '{"scripts": {"build": "x"}, "overrides": ' + '{"a":' * depth + "1" + "}" * depth + "}"
        (tmp_path / "package.json").write_text('{"scripts": {"build": "x"}}')
        (tmp_path / "package-lock.json").touch()
        plan = make_plan(tmp_path, BuildSettings())
        (tmp_path / "package.json").write_text(text)
        assert cache_keys(tmp_path, plan, "20.0.0", "install") is not None
