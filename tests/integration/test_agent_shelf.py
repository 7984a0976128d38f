"""`node_modules` beneath the clone: there at once, kept from build to build on a machine, and changed by none."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.agents import Site, make_site
from tests.integration.test_embedded_services import AS_NOBODY, NOBODY, as_root

BUILD_JS = """
const fs = require('fs')
fs.mkdirSync('dist')
fs.writeFileSync('dist/index.html', require('greeting'))
if (process.env.SPOIL) {
  fs.writeFileSync('node_modules/greeting/index.js', 'module.exports = "Spoilt"')
  fs.rmSync('node_modules/greeting/data', { recursive: true })
  fs.mkdirSync('node_modules/greeting/data')
  fs.chmodSync('node_modules/greeting', 0o700)
}
"""
PACKAGE = {"name": "site", "private": True, "scripts": {"build": "node build.js"}}
# It stands for a registry: what it makes is what packages would be.
INSTALL = (
    "mkdir -p node_modules/greeting/data && echo Hello > node_modules/greeting/data/word && ln -s greeting"
    " node_modules/link && echo \"module.exports = fs.readFileSync(__dirname + '/data/word', 'utf8').trim()\""
    " > node_modules/greeting/rest && (echo \"const fs = require('fs')\"; cat node_modules/greeting/rest)"
    " > node_modules/greeting/index.js"
)
FILES: dict[str, str | bytes | None] = {
    "package.json": json.dumps(PACKAGE),
    "package-lock.json": json.dumps({"name": "site", "lockfileVersion": 3, "packages": {}}),
    "build.js": BUILD_JS,
}
SETTINGS = {"installCommand": INSTALL}


def page(site: Site, **env: str) -> str:
    """Build and return the page."""
    site.order(settings=SETTINGS, env=env)
    site.build()
    assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
    return site.web.content("/index.html").decode()


def shelved(site: Site) -> list[Path]:
    return list(site.modules_dir.glob("*/modules-*"))


def test_what_a_build_installed_serves_the_next_one_unsent(tmp_path: Path) -> None:
    with make_site(tmp_path, FILES) as site:
        assert page(site) == "Hello"
        assert site.web.unchanged == []
        assert page(site) == "Hello"
        assert "install skipped" in site.web.log
        assert [key.partition("-")[0] for key in site.web.unchanged] == ["modules"]
        assert len(shelved(site)) == 1


def test_what_a_build_does_to_its_packages_the_next_one_does_not_see(tmp_path: Path) -> None:
    with make_site(tmp_path, FILES) as site:
        page(site)
        for _ in range(2):
            assert page(site, SPOIL="1") == "Hello"
        assert page(site) == "Hello"
        assert len(site.web.unchanged) == 3


@as_root
def test_a_build_in_another_slot_may_use_and_change_them(tmp_path: Path) -> None:
    with make_site(tmp_path, FILES) as site:
        page(site)
        site.slot = (site.slot + 1) % 1000
        assert page(site, SPOIL="1") == "Hello"
        assert len(site.web.unchanged) == 1


@pytest.mark.slow
def test_an_archive_that_is_another_one_now_is_unpacked(tmp_path: Path) -> None:
    with make_site(tmp_path, FILES) as site, make_site(tmp_path / "other", FILES) as other:
        page(site)
        other.order(settings={"installCommand": INSTALL.replace("echo Hello", "echo Welcome")})
        other.build()
        key = next(key for key in site.web.caches if key.startswith("modules-"))
        site.web.caches[key] = next(value for name, value in other.web.caches.items() if name.startswith("modules-"))
        assert page(site) == "Welcome"
        assert "install skipped" in site.web.log
        assert page(site) == "Welcome"
        assert site.web.unchanged == [key]


def test_a_failed_build_gives_them_back(tmp_path: Path) -> None:
    with make_site(tmp_path, FILES) as site:
        page(site)
        site.order(settings={**SETTINGS, "buildCommand": "rm -rf node_modules; exit 1"})
        site.build()
        assert len(shelved(site)) == 1
        assert page(site) == "Hello"


def test_a_packages_folder_of_a_monorepo_lies_where_it_was(tmp_path: Path) -> None:
    install = f"{INSTALL} && mkdir -p web/node_modules && mv node_modules/greeting web/node_modules/"
    settings = {"installCommand": install, "buildCommand": "cd web && node ../build.js", "outputDir": "web/dist"}
    files = {
        **FILES,
        "web/page.js": "",
        "build.js": BUILD_JS.replace("'greeting'", "process.cwd() + '/node_modules/greeting'"),
    }
    with make_site(tmp_path, files) as site:
        for _ in range(2):
            site.order(settings=settings)
            site.build()
            assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        assert "install skipped" in site.web.log
        assert site.web.content("/index.html") == b"Hello"


@pytest.mark.slow
def test_packages_that_are_published_are_so_by_every_build(tmp_path: Path) -> None:
    install = f"{INSTALL} && mkdir -p public && cp -r node_modules public/"
    settings = {"installCommand": install, "buildCommand": "echo hi > public/index.html", "outputDir": "public"}
    with make_site(tmp_path, FILES) as site:
        paths = []
        for _ in range(3):
            site.order(settings=settings)
            site.build()
            paths.append(site.web.paths)
        assert "install skipped" in site.web.log
        assert "/node_modules/greeting/index.js" in paths[0]
        assert paths[0] == paths[1] == paths[2]


@as_root
def test_an_ordinary_users_build_has_them_too() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home, make_site(Path(home), FILES) as site:
        site.prefix = AS_NOBODY
        os.chown(home, NOBODY, NOBODY)
        page(site)
        assert page(site, SPOIL="1") == "Hello"
        assert page(site) == "Hello"
        assert len(site.web.unchanged) == 2
        assert list(site.work_dir.iterdir()) == []
        subprocess.run(["chmod", "-R", "u+rwX", home], check=True)


@pytest.mark.parametrize("spoil", ["", pytest.param("1", marks=pytest.mark.slow)])
def test_a_machine_that_keeps_nothing_unpacks_them_into_the_clone(tmp_path: Path, spoil: str) -> None:
    with make_site(tmp_path, FILES) as site:
        site.keeps_modules = False
        page(site)
        assert page(site, SPOIL=spoil) == "Hello"
        assert "install skipped" in site.web.log
        assert shelved(site) == []


@pytest.mark.slow
def test_a_link_in_the_place_of_the_root_folder_leads_nobody_out_of_the_build(tmp_path: Path) -> None:
    victim = tmp_path / "elsewhere" / "node_modules"
    victim.mkdir(parents=True)
    (victim / "secret").write_text("of another")
    files = {f"web/{name}": content for name, content in FILES.items()}
    for depth in range(1, 6):
        target = f"{'../' * depth}elsewhere"
        command = "mkdir -p ../out && echo hi > ../out/index.html && cd / && mv /build/web /build/w"
        command += f" && ln -s {target} /build/web"
        with make_site(tmp_path / str(depth), files) as site:
            site.order(settings={**SETTINGS, "rootDir": "web", "outputDir": "../out", "buildCommand": command})
            site.build()
            assert (victim / "secret").read_text() == "of another"
            assert shelved(site) == []


@pytest.mark.parametrize(
    "removal",
    [
        "rm -rf node_modules/greeting",
        *(
            pytest.param(all_of_it, marks=pytest.mark.slow)
            for all_of_it in ("rm -rf node_modules", "rm -rf node_modules/*")
        ),
    ],
)
def test_a_build_that_removes_its_packages_takes_them_from_itself_alone(tmp_path: Path, removal: str) -> None:
    with make_site(tmp_path, FILES) as site:
        for _ in range(3):
            site.order(settings={**SETTINGS, "buildCommand": f"node build.js && {removal}"})
            site.build()
            assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log


@pytest.mark.slow
def test_a_build_that_renames_a_package_is_built_each_time(tmp_path: Path) -> None:
    rename = "fs.renameSync('node_modules/other', 'node_modules/renamed')"
    command = f'node build.js && node -e "{rename}"'
    settings = {"installCommand": f"{INSTALL} && mkdir node_modules/other", "buildCommand": command}
    with make_site(tmp_path, FILES) as site:
        page(site)
        site.web.caches.clear()
        # Its archive is a build's that did not rename.
        site.order(settings={**settings, "buildCommand": "node build.js"})
        site.build()
        for _ in range(2):
            site.order(settings=settings)
            site.build()
            assert "install skipped" in site.web.log
            assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
            assert "once more, with all of them in the clone" in site.web.log
        assert page(site) == "Hello"


@pytest.mark.slow
def test_committed_packages_are_as_the_install_leaves_them_each_time(tmp_path: Path) -> None:
    with make_site(tmp_path, {**FILES, "node_modules/greeting/data/word": "Committed"}) as site:
        assert [page(site) for _ in range(3)] == ["Hello"] * 3


@pytest.mark.slow
def test_half_an_archive_leaves_nothing_beneath_the_clone(tmp_path: Path) -> None:
    with make_site(tmp_path, FILES) as site:
        page(site)
        subprocess.run(["rm", "-rf", str(site.modules_dir)], check=True)
        site.web.caches = {key: content[: len(content) // 2] for key, content in site.web.caches.items()}
        assert page(site) == "Hello"
        assert "install skipped" not in site.web.log
        assert page(site) == "Hello"
        assert "install skipped" in site.web.log
