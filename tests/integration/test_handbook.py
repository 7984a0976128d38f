"""The documentation in `docs/`, as the pages that web makes of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from autostack.web import handbook
from tests.people import Browser

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", handbook.CHAPTERS)
def test_a_chapter_is_the_file_with_its_headings_to_link_to(nobodys_browser: Browser, name: str) -> None:
    page = BeautifulSoup(nobodys_browser.get(f"/docs/{name}").text, "html.parser")
    written = (ROOT / "docs" / f"{name}.md").read_text().splitlines()
    titles = [line.removeprefix("## ").replace("`", "") for line in written if line.startswith("## ")]
    assert [heading.get_text() for heading in page.select("article h2")] == titles
    anchors = {link["href"] for link in page.select(".docs-nav a")}
    assert {f"#{heading['id']}" for heading in page.select("article h2")} <= anchors


def test_all_of_docs_is_a_chapter() -> None:
    assert {file.stem for file in (ROOT / "docs").glob("*.md")} == set(handbook.CHAPTERS)


def test_links_between_files_lead_between_pages(nobodys_browser: Browser) -> None:
    page = BeautifulSoup(nobodys_browser.get("/docs/getting-started").text, "html.parser")
    assert "/docs/configuration" in {link["href"] for link in page.select("article a")}


def test_html_in_a_file_is_text_on_its_page() -> None:
    assert "<script" not in handbook.reader().render("<script>alert(1)</script> [x](javascript:alert(1))")
    assert "javascript:" not in handbook.reader().render("[x](javascript:alert(1))").split("[x]")[0]


def test_an_installed_autostack_has_its_documentation(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for part in ("autostack", "docs"):
        shutil.copytree(
            ROOT / part, source / part, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "vendor")
        )
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    command = [sys.executable, "-c", "import setuptools.build_meta as b, sys; print(b.build_wheel(sys.argv[1]))"]
    built = subprocess.run([*command, str(tmp_path)], cwd=source, check=True, capture_output=True, text=True)
    with zipfile.ZipFile(tmp_path / built.stdout.splitlines()[-1]) as wheel:
        packed = {name: wheel.read(name) for name in wheel.namelist() if name.startswith("autostack/handbook/")}
    assert packed == {f"autostack/handbook/{file.name}": file.read_bytes() for file in (ROOT / "docs").glob("*.md")}
