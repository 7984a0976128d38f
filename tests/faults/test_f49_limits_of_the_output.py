"""Row 49: a million files, a 10 GB sparse file, 4 KB names → a clear limit error."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agents import make_site

NAME = "$(printf '%0200d' 0)"


@pytest.mark.parametrize(
    "command, reason",
    [
        ("seq 1 30000 | (cd dist && xargs touch)", "The output has more than 20,000 files: `"),
        ("truncate -s 4GB dist/sparse.bin", "`sparse.bin` has 4 GB: a file of a site may have 25 MB at most"),
        ("truncate -s 10GB dist/sparse.bin", "ended with exit code 153: a file grew larger than 5 GB"),
        (
            "for i in $(seq 1 21); do truncate -s 24MB dist/$i.bin; done",
            "The output is larger than 500 MB in all: `",
        ),
        (
            f"cd dist && for i in 1 2 3 4 5 6; do mkdir {NAME}; cd {NAME}; done; touch x",
            "is longer than 1,024 bytes",
        ),
        ("touch dist/$(printf 'a\\377b')", "is not printable UTF-8 text"),
        ("touch \"dist/$(printf 'a\\nb')\"", "is not printable UTF-8 text"),
        ("touch dist/index.html; chmod 0 dist", ""),
    ],
)
def test_f49_past_a_limit_the_build_fails_and_names_file_and_limit(tmp_path: Path, command: str, reason: str) -> None:
    settings = {"buildCommand": f"mkdir dist; {command}", "outputDir": "dist"}
    with make_site(tmp_path, {"a.txt": ""}, settings=settings) as site:
        assert site.build() == 0
        assert site.web.finished is not None
        assert reason in (site.web.finished["reason"] or "")
        assert len(site.web.finished["reason"] or "") <= 500
        assert (site.web.finished["outcome"] == "failed") == bool(reason)


def test_f49_folders_without_files_are_limited_too(tmp_path: Path) -> None:
    settings = {"buildCommand": "mkdir dist; seq 1 2000 | (cd dist && xargs mkdir)", "outputDir": "dist"}
    with make_site(tmp_path, {"a.txt": ""}, settings=settings, limits={"maxFiles": 1_000}) as site:
        site.build()
        assert "The output has more than 1,000 folders: `" in (site.web.finished or {})["reason"]
