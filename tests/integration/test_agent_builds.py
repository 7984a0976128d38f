"""The agent builds real repositories: cloned over HTTP, installed by real npm, uploaded to a real server."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import brotli
import pytest
import zstandard

from tests.agents import make_site
from tests.git_server import make_repository, serve_repositories

# A package of the repository itself: npm links a workspace, nothing is downloaded.
BUILD_JS = """
const fs = require('fs')
fs.mkdirSync('dist', { recursive: true })
fs.writeFileSync('dist/index.html', `<h1>${require('greeting')} ${process.env.NAME}</h1>`)
fs.writeFileSync('dist/env.json', JSON.stringify(process.env))
console.log('wrote dist')
"""
PACKAGE: dict[str, Any] = {
    "name": "site",
    "private": True,
    "scripts": {"build": "node build.js"},
    "workspaces": ["greeting"],
}
LOCK: dict[str, Any] = {
    "name": "site",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": {"name": "site", "workspaces": ["greeting"]},
        "greeting": {"version": "1.0.0"},
        "node_modules/greeting": {"resolved": "greeting", "link": True},
    },
}

TELLS_MANAGER = {"build": "mkdir dist && echo $npm_config_user_agent > dist/index.html"}
# Bun keeps no lock file of a project without any package, and with --frozen-lockfile wants none there.
BUN_PROJECT = {
    "package.json": json.dumps({"name": "site", "workspaces": ["greeting"], "scripts": TELLS_MANAGER}),
    "greeting/package.json": '{"name": "greeting", "version": "1.0.0"}',
    "bun.lock": json.dumps(
        {
            "lockfileVersion": 1,
            "workspaces": {"": {"name": "site"}, "greeting": {"name": "greeting", "version": "1.0.0"}},
            "packages": {"greeting": ["greeting@workspace:greeting"]},
        }
    ),
}


def npm_project(**changes: Any) -> dict[str, str | bytes | None]:
    return {
        "package.json": json.dumps({**PACKAGE, **changes}),
        "package-lock.json": json.dumps(LOCK),
        "build.js": BUILD_JS,
        "greeting/package.json": '{"name": "greeting", "version": "1.0.0", "main": "index.js"}',
        "greeting/index.js": "module.exports = 'Hello'",
    }


def test_what_the_build_before_compressed_and_sent_is_neither_again(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "<h1>One</h1>" * 500, "app.css": "body{}\n" * 500}) as site:
        assert site.build() == 0, site.web.log
        first = {file["path"]: file for file in site.web.files}
        site.repository.commit({"index.html": "<h1>Two</h1>" * 500})
        site.order()
        assert site.build() == 0, site.web.log
        second = {file["path"]: file for file in site.web.files}
        assert second["/app.css"] == first["/app.css"]
        assert set(second["/app.css"]["encodings"]) == {"br", "zstd", "gzip"}
        page = second["/index.html"]
        assert set(site.web.uploaded) == {page["pack"]} == {part["pack"] for part in page["encodings"].values()}
        assert site.web.content("/app.css") == b"body{}\n" * 500
        assert "Uploaded 1 of 2 files (1 were already stored)" in site.web.log


def test_a_pack_that_was_deleted_meanwhile_is_made_again(tmp_path: Path) -> None:
    with make_site(tmp_path, {"app.css": "body{}\n" * 500}) as site:
        assert site.build() == 0, site.web.log
        [file] = site.web.files
        del site.web.blobs[file["pack"]]
        site.order()
        assert site.build() == 0, site.web.log
        assert site.web.files == [file]
        assert site.web.uploaded == [file["pack"]]


def test_what_an_earlier_agent_sent_as_a_blob_of_its_own_is_not_sent_again(tmp_path: Path) -> None:
    with make_site(tmp_path, {"a.txt": "one", "b.txt": "two"}) as site:
        one = {"sha256": hashlib.sha256(b"one").hexdigest(), "size": 3}
        site.web.blobs[one["sha256"]] = b"one"
        site.web.previous = {"files": {"/a.txt": {**one, "encodings": {}}}}
        assert site.build() == 0, site.web.log
        assert [file.get("pack") for file in site.web.files] == [None, *site.web.uploaded]
        assert "Uploaded 1 of 2 files (1 were already stored)" in site.web.log


def test_small_files_share_blobs_with_their_variants_and_equal_ones_have_one_place(tmp_path: Path) -> None:
    files = {"a.txt": "same", "b.txt": "same", "c.txt": "other", "empty.txt": ""}
    with make_site(tmp_path, files) as site:
        assert site.build() == 0, site.web.log
        places = [(file.get("pack"), file.get("start")) for file in site.web.files]
        assert places[0] == places[1] != places[2]
        assert places[3] == (None, None)
        assert len(site.web.uploaded) == 2
        assert {path: site.web.content(f"/{path}").decode() for path in files} == files


def test_the_variants_of_small_files_share_blobs_and_a_large_ones_are_blobs_of_their_own(tmp_path: Path) -> None:
    files = {f"{number}.html": f"<p>page {number}</p>" * 500 for number in range(20)}
    large = b"<p>The same words again and again.</p>\n" * 5_000
    with make_site(tmp_path, {**files, "large.html": large}) as site:
        assert site.build() == 0, site.web.log
        encodings = {file["path"]: file["encodings"] for file in site.web.files}
        own = encodings.pop("/large.html")
        assert brotli.decompress(site.web.blobs[own["br"]["sha256"]]) == large
        assert len({part["pack"] for parts in encodings.values() for part in parts.values()}) == 1
        assert len(site.web.uploaded) == 1 + 1 + len(own)
        for path, parts in encodings.items():
            part = parts["gzip"]
            packed = site.web.blobs[part["pack"]][part["start"] :][: part["size"]]
            assert hashlib.sha256(packed).hexdigest() == part["sha256"]
            assert gzip.decompress(packed).decode() == files[path.removeprefix("/")]


def test_of_many_files_the_first_are_sent_before_the_last_are_read(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"{number:03}.bin": os.urandom(140_000) for number in range(130)}
    files["_redirects"] = "/a /b"
    with make_site(tmp_path, files) as site:
        assert site.build() == 0, site.web.log
        assert site.web.invitations == 2
        assert len(site.web.paths) == len(site.web.uploaded) == len(site.web.blobs) == 130
        assert site.web.content("/129.bin") == files["129.bin"]
        assert "Uploaded 130 of 130 files" in site.web.texts


def test_a_plain_folder_of_pages_is_uploaded_as_it_is(tmp_path: Path) -> None:
    files = {"index.html": "<h1>Hello</h1>", "assets/app.css": "body{}\n" * 500, ".env": "SECRET=1"}
    with make_site(tmp_path, files) as site:
        assert site.build() == 0, site.web.log
        assert site.web.finished == {"outcome": "built", "reason": None}
        assert site.web.paths == ["/assets/app.css", "/index.html"]
        assert site.web.content("/index.html") == b"<h1>Hello</h1>"
        assert "Detected a plain static site" in site.web.log


def test_what_says_how_a_site_is_served_is_sent_and_is_no_part_of_it(tmp_path: Path) -> None:
    rules = {"_redirects": "/a /b\nbad\n", "_headers": "/*\n  X-A: b\n", "vercel.json": '{"cleanUrls": true}'}
    with make_site(tmp_path, {"index.html": "<h1>Hello</h1>", "sub/_redirects": "kept", **rules}) as site:
        site.web.notes = ["_redirects:2: there is no target"]
        assert site.build() == 0, site.web.log
        assert site.web.rules == rules
        assert site.web.paths == ["/index.html", "/sub/_redirects"]
        warnings = [line["text"] for line in site.web.lines if line["level"] == "warning"]
        assert warnings == ["_redirects:2: there is no target"]


def test_an_npm_project_is_installed_built_and_uploaded(tmp_path: Path) -> None:
    with make_site(tmp_path, npm_project(), env={"NAME": "Alice", "NODE_ENV": "production"}) as site:
        assert site.build() == 0
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        assert site.web.content("/index.html") == b"<h1>Hello Alice</h1>"
        source = site.web.source or {}
        assert source["commitMessage"] == "First commit"
        assert source["author"] == "Alice"
        assert (source["packageManager"], source["buildCommand"]) == ("npm", "npm run build")
        for line in ("Cloning 127.0.0.1:", "(Branch: main)", "Cloning completed: ", "npm ci", "$ npm run build"):
            assert line in site.web.log
        assert "Build completed in " in site.web.log
        assert "Uploaded 2 of 2 files" in site.web.log
        assert json.loads(site.web.content("/env.json"))["NODE_ENV"] == "production"


def test_the_work_folder_is_empty_afterwards(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "hi"}) as site:
        site.build()
        assert list(site.work_dir.iterdir()) == []


def test_text_is_uploaded_compressed_too_and_each_variant_is_the_same_content(tmp_path: Path) -> None:
    page = b"<p>The same words again and again.</p>\n" * 1000
    with make_site(tmp_path, {"index.html": page, "tiny.html": "x", "noise.png": bytes(range(256)) * 10}) as site:
        site.build()
        encodings = {file["path"]: file["encodings"] for file in site.web.files}
        assert encodings["/tiny.html"] == encodings["/noise.png"] == {}
        blobs = {
            name: site.web.blobs[part["pack"]][part["start"] :][: part["size"]]
            for name, part in encodings["/index.html"].items()
        }
        assert set(blobs) == {"br", "zstd", "gzip"}
        assert brotli.decompress(blobs["br"]) == page
        assert zstandard.ZstdDecompressor().decompress(blobs["zstd"], max_output_size=len(page)) == page


def test_only_what_the_store_lacks_is_uploaded(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "one", "about.html": "about", "same.html": "about"}) as site:
        site.build()
        site.repository.commit({"index.html": "two"})
        site.order()
        site.build()
        assert len(site.web.uploaded) == 1
        assert "Uploaded 1 of 3 files (2 were already stored)" in site.web.log


def test_a_folder_of_a_monorepo_is_built_with_the_lock_file_above_it(tmp_path: Path) -> None:
    files = npm_project(workspaces=["greeting", "apps/*"])
    files |= {
        "apps/web/package.json": json.dumps({"name": "web", "version": "1.0.0", "scripts": {"build": "node make.js"}}),
        "apps/web/make.js": "require('fs').mkdirSync('out');require('fs').writeFileSync('out/index.html',"
        "require('greeting'))",
    }
    settings = {"rootDir": "apps/web", "outputDir": "out"}
    with make_site(tmp_path, files, settings=settings) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        assert site.web.content("/index.html") == b"Hello"


def test_a_lock_file_out_of_step_is_installed_with_a_warning(tmp_path: Path) -> None:
    files = npm_project()
    lock = {**LOCK, "packages": {"": {"name": "site"}}}
    with make_site(tmp_path, {**files, "package-lock.json": json.dumps(lock)}, env={"NAME": "Bob"}) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        warnings = [line["text"] for line in site.web.lines if line["level"] == "warning"]
        assert warnings == ["The lock file does not go with package.json: using npm install instead"]
        assert "EUSAGE" not in site.web.log


def test_a_second_build_with_the_same_lock_file_skips_the_install(tmp_path: Path) -> None:
    with make_site(tmp_path, npm_project(), env={"NAME": "A"}) as site:
        site.build()
        assert any(key.startswith("modules-") for key in site.web.caches)
        site.repository.commit({"build.js": BUILD_JS.replace("Hello", "Hello")})
        site.order(env={"NAME": "B"})
        site.build()
        assert "install skipped" in site.web.log
        assert "npm ci" not in site.web.log
        assert site.web.content("/index.html") == b"<h1>Hello B</h1>"


def test_an_install_with_scripts_of_the_repository_is_never_skipped(tmp_path: Path) -> None:
    scripts = {"build": "node build.js", "postinstall": "echo made > generated.txt"}
    with make_site(tmp_path, npm_project(scripts=scripts), env={"NAME": "A"}) as site:
        site.build()
        assert [key for key in site.web.caches if key.startswith("modules-")] == []


def test_an_invalid_package_json_that_no_install_reads_does_not_matter(tmp_path: Path) -> None:
    with make_site(tmp_path, {**npm_project(), "template/package.json": "{{ json }}"}, env={"NAME": "A"}) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log


@pytest.mark.slow
def test_a_broken_cache_is_as_good_as_none(tmp_path: Path) -> None:
    with make_site(tmp_path, npm_project(), env={"NAME": "A"}) as site:
        site.build()
        site.web.caches = {key: content[: len(content) // 2] for key, content in site.web.caches.items()}
        site.order(env={"NAME": "A"})
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        assert "npm ci" in site.web.log


def test_a_failing_build_says_which_command_and_exit_code(tmp_path: Path) -> None:
    with make_site(tmp_path, npm_project(scripts={"build": "echo it broke >&2; exit 3"})) as site:
        assert site.build() == 0
        assert site.web.finished == {"outcome": "failed", "reason": "`npm run build` ended with exit code 3"}
        assert "it broke" in site.web.log


@pytest.mark.parametrize(
    "files, settings, reason",
    [
        ({"index.html": ""}, {"outputDir": "dist"}, "The output folder `dist` was not made by the build"),
        ({"a.txt": ""}, {"outputDir": "../../etc"}, "lies outside the repository"),
        ({"a.txt": ""}, {"outputDir": "dist", "buildCommand": "mkdir dist"}, "`dist` has no files in it"),
        ({"a.txt": ""}, {"outputDir": "dist", "buildCommand": "ln -s /etc dist"}, "`dist` is a link"),
        ({"a.txt": ""}, {"rootDir": "apps/none"}, "The root folder `apps/none` does not exist"),
        ({"package.json": "{"}, {}, "`package.json` is not valid JSON"),
        ({"a.txt": ""}, {"buildCommand": "none-such", "outputDir": "."}, "a program that it names is not installed"),
        ({"a.txt": ""}, {"buildCommand": "true", "nodeVersion": "7"}, "Node 7 is not installed on this machine"),
    ],
)
def test_what_cannot_be_built_fails_with_a_reason(
    tmp_path: Path, files: dict[str, str | bytes | None], settings: dict[str, str], reason: str
) -> None:
    with make_site(tmp_path, files, settings=settings) as site:
        assert site.build() == 0
        assert site.web.finished is not None
        assert site.web.finished["outcome"] == "failed"
        assert reason in site.web.finished["reason"]


def test_one_commit_of_the_past_is_built_when_the_order_names_it(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "old"}) as site:
        old = site.repository.commit({"index.html": "older"})
        site.repository.commit({"index.html": "new"})
        site.order(repository={"commit": old})
        site.build()
        assert site.web.content("/index.html") == b"older"
        assert (site.web.source or {})["commitHash"] == old


def test_a_missing_branch_fails_with_that_reason(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "hi"}) as site:
        site.order(repository={"branch": "none-such"})
        site.build()
        assert site.web.finished == {"outcome": "failed", "reason": "The repository has no such branch"}


def test_a_private_repository_is_cloned_with_its_credential_which_the_build_never_sees(tmp_path: Path) -> None:
    folder = tmp_path / "private"
    make_repository(folder / "site.git", {"index.html": "private", "package.json": json.dumps(PACKAGE)})
    look = "mkdir dist; { env; cat .git/config; grep -rs hunter2-hunter2 /build /home /tmp || true; } > dist/index.html"
    with make_site(tmp_path, {"a": "b"}) as site, serve_repositories(folder, ("bot", "hunter2-hunter2")) as server:
        repository = {"url": server.url("site.git"), "hostsAllowed": ["127.0.0.1"]}
        settings = {"buildCommand": look, "installCommand": ""}
        site.order(repository={**repository, "credential": {"username": "bot", "password": "wrong-password"}})
        assert site.build() == 0
        assert "asks for a sign-in" in (site.web.finished or {})["reason"]
        credential = {"username": "bot", "password": "hunter2-hunter2"}
        site.order(repository={**repository, "credential": credential}, settings=settings)
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        assert b"hunter2" not in site.web.content("/index.html")


def test_a_public_repository_never_hears_of_the_credential(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "public"}) as site:
        site.order(repository={"credential": {"username": "bot", "password": "revoked-long-ago"}})
        site.build()
        assert site.web.content("/index.html") == b"public"
        assert site.server.authorizations == []


def test_the_one_local_repository_is_cloned_and_no_other(tmp_path: Path) -> None:
    with make_site(tmp_path, {"index.html": "example"}) as site:
        path = str(site.repository.path)
        site.order(repository={"url": path, "localPath": path, "hostsAllowed": []})
        site.build()
        assert site.web.content("/index.html") == b"example"
        other = make_repository(tmp_path / "other.git", {"index.html": "other"})
        site.order(repository={"url": str(other.path), "localPath": path, "hostsAllowed": []})
        site.build()
        assert (site.web.finished or {})["outcome"] == "failed"


def test_web_coming_back_after_errors_has_every_line_once(tmp_path: Path) -> None:
    settings = {"buildCommand": "for i in $(seq 1 3000); do echo line $i; done", "outputDir": "."}
    with make_site(tmp_path, {"index.html": "hi"}, settings=settings) as site:
        site.web.faults.unavailable = {"logs": 3, "files": 2, "source": 1, "finish": 1, "order": 1}
        site.web.faults.dropped = {"logs": 2, "blobs": 1, "finish": 1}
        assert site.build() == 0
        assert site.web.finished == {"outcome": "built", "reason": None}
        lines = [text for text in site.web.texts if text.startswith("line ")]
        assert lines == [f"line {number}" for number in range(1, 3001)]


def test_an_attempt_that_web_has_ended_is_killed_and_reports_nothing(tmp_path: Path) -> None:
    settings = {"buildCommand": "echo under' 'way; sleep 600", "outputDir": "."}
    with make_site(tmp_path, {"index.html": "hi"}, settings=settings) as site:
        agent = site.start()
        site.web.wait_for_line("under way")
        site.web.faults.ended.set()
        assert agent.wait(60) == 75
        assert site.web.finished is None


@pytest.mark.parametrize(
    "files, manager, expected",
    [
        ({"yarn.lock": "# yarn lockfile v1\n"}, "yarn", "yarn install"),
        ({"pnpm-lock.yaml": "lockfileVersion: '9.0'\n\nimporters:\n\n  .: {}\n"}, "pnpm", "pnpm install"),
        # Its program, of 100 MB, is a package of its own.
        pytest.param(BUN_PROJECT, "bun", "bun install", marks=pytest.mark.slow),
    ],
)
def test_another_package_manager_is_installed_from_npm_once(
    tmp_path: Path, files: dict[str, str], manager: str, expected: str
) -> None:
    package = {"name": "site", "scripts": TELLS_MANAGER}
    with make_site(tmp_path, {"package.json": json.dumps(package), **files}) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        assert site.web.content("/index.html").startswith(f"{manager}/".encode())
        assert f"Installed {manager} " in site.web.log
        assert expected in site.web.log
        site.order()
        site.build()
        assert f"Installed {manager} " not in site.web.log


@pytest.mark.slow
def test_yarn_of_today_installs_through_the_sandboxs_way_out(tmp_path: Path) -> None:
    # It has an HTTP client of its own, and Plug'n'Play: there are no node_modules.
    build = "yarn node -p \"'odd: ' + require('is-odd')(5)\" > index.html"
    package = {"packageManager": "yarn@4.9.2", "dependencies": {"is-odd": "3.0.1"}, "scripts": {"build": build}}
    files = {"package.json": json.dumps(package), "yarn.lock": ""}
    settings = {"installCommand": "yarn install --no-immutable", "outputDir": "."}
    with make_site(tmp_path, files, settings=settings) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}, site.web.log
        assert site.web.content("/index.html") == b"odd: true\n"
        assert not [text for text in site.web.texts if text.startswith("The build tried to reach")]
