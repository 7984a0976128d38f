"""What the agent makes of a repository."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from autostack.agent.detect import PackageManager, frameworks, make_plan
from autostack.agent.errors import BuildFailed
from autostack.agent.host import Node
from autostack.agent.install import install_command
from autostack.agent.order import BuildSettings
from autostack.agent.run import find_output
from autostack.agent.toolchain import Tool, choose_node, hinted_node, needed_tool

DETECTED = BuildSettings()


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_there_are_about_75_frameworks_and_each_is_complete() -> None:
    known = frameworks()
    assert len(known) >= 75
    assert len({framework.slug for framework in known}) == len(known)
    assert all(framework.packages and framework.build and framework.output for framework in known)


@pytest.mark.parametrize(
    "dependencies, slug, command, output",
    [
        ({"vite": "^5.2.0", "react": "18"}, "vite", "vite build", "dist"),
        ({"react-scripts": "5.0.1"}, "create-react-app", "react-scripts build", "build"),
        ({"next": "14.1.0", "react": "18"}, "nextjs", "next build", "out"),
        ({"astro": "4"}, "astro", "astro build", "dist/client"),
        ({"@sveltejs/kit": "2", "vite": "5", "svelte": "4"}, "sveltekit", "vite build", "build"),
        ({"gatsby": "5"}, "gatsby", "gatsby build", "public"),
        ({"@angular/cli": "17"}, "angular", "ng build", "dist/*/browser"),
        ({"nuxt": "3"}, "nuxtjs", "nuxt generate", ".output/public"),
        ({"@docusaurus/core": "3"}, "docusaurus-2", "docusaurus build", "build"),
        ({"@vue/cli-service": "5"}, "vue", "vue-cli-service build", "dist"),
        ({"@11ty/eleventy": "2"}, "eleventy", "eleventy", "_site"),
        ({"vitepress": "1", "vite": "5"}, "vitepress", "vitepress build docs", "docs/.vitepress/dist"),
        ({"storybook": "8", "vite": "5"}, "vite", "vite build", "dist"),
    ],
)
def test_a_framework_is_told_by_its_dependency(
    tmp_path: Path, dependencies: dict[str, str], slug: str, command: str, output: str
) -> None:
    plan = make_plan(write(tmp_path, {"package.json": {"devDependencies": dependencies}}), DETECTED)
    assert plan.framework is not None
    assert (plan.framework.slug, plan.build_command, str(plan.outputs[0])) == (slug, command, output)


def test_the_build_script_wins_over_the_frameworks_command(tmp_path: Path) -> None:
    package = {"dependencies": {"vite": "^5.0"}, "scripts": {"build": "tsc && vite build"}}
    plan = make_plan(write(tmp_path, {"package.json": package, "yarn.lock": ""}), DETECTED)
    assert plan.build_command == "yarn run build"
    assert plan.title == "Vite 5"


def test_no_package_json_or_nothing_to_build_is_a_static_site(tmp_path: Path) -> None:
    assert make_plan(tmp_path, DETECTED).is_static
    plan = make_plan(write(tmp_path, {"package.json": {"dependencies": {"left-pad": "1"}}}), DETECTED)
    assert plan.is_static
    assert plan.title == "a plain static site"


def test_the_owners_settings_win_and_an_empty_command_means_none(tmp_path: Path) -> None:
    write(tmp_path, {"apps/web/package.json": {"dependencies": {"vite": "5"}}})
    settings = BuildSettings(root_dir="apps/web", install_command="", build_command="make", output_dir="../out")
    plan = make_plan(tmp_path, settings)
    assert (plan.installs, plan.install_command, plan.build_command) == (False, None, "make")
    assert [str(path) for path in plan.outputs] == ["apps/out"]


@pytest.mark.parametrize("output", ["../out", "/../etc", "a/../../b", "a\0b"])
def test_an_output_outside_the_repository_is_refused(tmp_path: Path, output: str) -> None:
    with pytest.raises(BuildFailed, match="outside the repository"):
        make_plan(tmp_path, BuildSettings(output_dir=output))


@pytest.mark.parametrize(
    "files, manager",
    [
        ({}, ("npm", None)),
        ({"package-lock.json": "{}"}, ("npm", None)),
        ({"yarn.lock": "# yarn lockfile v1"}, ("yarn", "1")),
        ({"yarn.lock": "# x\n__metadata:\n  version: 8"}, ("yarn", "4")),
        ({"pnpm-lock.yaml": "lockfileVersion: '9.0'"}, ("pnpm", "10")),
        ({"pnpm-lock.yaml": "lockfileVersion: '6.0'"}, ("pnpm", "8")),
        ({"pnpm-lock.yaml": "lockfileVersion: 5.4"}, ("pnpm", "7")),
        ({"bun.lock": "{}"}, ("bun", None)),
    ],
)
def test_the_package_manager_is_told_by_the_lock_file(
    tmp_path: Path, files: dict[str, str], manager: tuple[str, str | None]
) -> None:
    plan = make_plan(write(tmp_path, {"package.json": {"scripts": {"build": "x"}}, **files}), DETECTED)
    assert plan.manager is not None
    assert (plan.manager.name, plan.manager.version) == manager


def test_the_package_manager_field_wins_over_a_stray_lock_file(tmp_path: Path) -> None:
    package = {"scripts": {"build": "x"}, "packageManager": "pnpm@9.15.0+sha512.abc"}
    plan = make_plan(write(tmp_path, {"package.json": package, "package-lock.json": "{}"}), DETECTED)
    assert plan.manager == PackageManager("pnpm", "9.15.0")


def test_a_lock_file_above_the_root_folder_is_where_the_install_runs(tmp_path: Path) -> None:
    files = {"apps/web/package.json": {"scripts": {"build": "x"}}, "pnpm-lock.yaml": "lockfileVersion: '9.0'"}
    plan = make_plan(write(tmp_path, files), BuildSettings(root_dir="/apps/web/".strip("/")))
    assert str(plan.install_root) == "."
    assert str(plan.root) == "apps/web"


def test_a_link_in_place_of_package_json_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "package.json").symlink_to("/etc/passwd")
    with pytest.raises(BuildFailed, match="it is a link"):
        make_plan(tmp_path, DETECTED)


def test_angular_output_is_found_below_the_projects_name(tmp_path: Path) -> None:
    source = write(
        tmp_path, {"package.json": {"dependencies": {"@angular/cli": "17"}}, "dist/shop/browser/index.html": "x"}
    )
    assert str(find_output(source, make_plan(source, DETECTED))) == "dist/shop/browser"


def test_a_framework_that_wrote_no_pages_says_what_to_set(tmp_path: Path) -> None:
    source = write(tmp_path, {"package.json": {"dependencies": {"next": "14"}}})
    with pytest.raises(BuildFailed, match='set `output: "export"`'):
        find_output(source, make_plan(source, DETECTED))


@pytest.mark.parametrize(
    "manager, command",
    [
        (PackageManager("npm", None, Path("package-lock.json")), "npm ci --include=dev"),
        (PackageManager("npm"), "npm install --include=dev"),
        (PackageManager("yarn", "1", Path("yarn.lock")), "yarn install --frozen-lockfile --production=false"),
        (PackageManager("yarn", "4", Path("yarn.lock")), "yarn install --immutable"),
        (PackageManager("pnpm", "10", Path("pnpm-lock.yaml")), "pnpm install --frozen-lockfile --prod=false"),
        (PackageManager("bun", None, Path("bun.lock")), "bun install --frozen-lockfile"),
    ],
)
def test_each_package_manager_installs_what_is_locked_with_development_dependencies(
    manager: PackageManager, command: str
) -> None:
    assert install_command(manager).command.startswith(command)


def test_a_missing_package_manager_is_asked_of_npm_under_its_name() -> None:
    assert needed_tool(PackageManager("npm")) is None
    assert needed_tool(PackageManager("pnpm", "9.1.0")) == Tool("pnpm", "pnpm", "9.1.0")
    assert needed_tool(PackageManager("yarn", "4.1.0")) == Tool("yarn", "@yarnpkg/cli-dist", "4.1.0")
    assert needed_tool(PackageManager("yarn", "1.22.22")) == Tool("yarn", "yarn", "1.22.22")


NODES = [Node("20.20.2", "/usr"), Node("22.1.0", "/opt/node22"), Node("18.19.0", "/opt/node18")]


@pytest.mark.parametrize(
    "wanted, version",
    [(None, "20.20.2"), ("22", "22.1.0"), ("18.x", "18.19.0"), ("v22.1.0", "22.1.0"), ("22.1", "22.1.0")],
)
def test_the_wanted_node_is_chosen(wanted: str | None, version: str) -> None:
    assert choose_node(NODES, wanted).version == version


@pytest.mark.parametrize("wanted", ["16", "22.9", "latest", "; id"])
def test_a_node_that_the_machine_lacks_is_said_to(wanted: str) -> None:
    with pytest.raises(BuildFailed, match=r"not installed on this machine, which has 20\.20\.2, 22\.1\.0"):
        choose_node(NODES, wanted)


@pytest.mark.parametrize(
    "files, engines, hint",
    [
        ({".nvmrc": "v18.19.0\n"}, None, "18"),
        ({}, {"node": "22.x"}, "22"),
        ({}, {"node": ">=18"}, None),
        ({}, {"node": "^20.0.0"}, "20"),
        ({".nvmrc": "lts/*"}, None, None),
    ],
)
def test_the_repository_may_hint_at_a_node(
    tmp_path: Path, files: dict[str, str], engines: Any, hint: str | None
) -> None:
    assert hinted_node(write(tmp_path, files), PurePosixPath(), engines) == hint
