"""Row 47: symlink, hard link, FIFO or device in the output → refused or skipped, said in the log."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

from autostack.agent.collect import Output, list_files
from autostack.agent.files import UnsafePath, read_bytes
from autostack.agent.logs import Level
from autostack.agent.order import Limits
from tests.agents import make_site
from tests.peers.web_for_agents import LIMITS

MAKE = """
mkdir dist; cd dist; echo page > index.html; mkdir real; echo deep > real/page.html
ln -s /etc/passwd passwd.txt; ln -s index.html home.html; ln -s real folder; ln -s /proc/self/environ environ
ln real/page.html hard.html; mkfifo fifo; perl -e 'use IO::Socket::UNIX; IO::Socket::UNIX->new(Local=>"s",Listen=>1)'
"""


def test_f47_only_regular_files_are_in_the_site_and_the_log_names_the_others(tmp_path: Path) -> None:
    with make_site(tmp_path, {"a.txt": ""}, settings={"buildCommand": MAKE, "outputDir": "dist"}) as site:
        site.build()
        assert site.web.finished == {"outcome": "built", "reason": None}
        assert site.web.paths == ["/hard.html", "/index.html", "/real/page.html"]
        assert sorted(line["text"] for line in site.web.lines if line["level"] == "warning") == [
            "Skipped `environ`: it is a symbolic link",
            "Skipped `fifo`: it is a FIFO",
            "Skipped `folder`: it is a symbolic link",
            "Skipped `home.html`: it is a symbolic link",
            "Skipped `passwd.txt`: it is a symbolic link",
            "Skipped `s`: it is a socket",
        ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices and other users' files")
def test_f47_devices_and_hard_links_to_the_files_of_others_are_skipped(tmp_path: Path) -> None:
    output = tmp_path / "dist"
    output.mkdir()
    (tmp_path / "secret").write_text("root's")
    os.link(tmp_path / "secret", output / "link.html")
    os.mknod(output / "null", 0o020666, os.makedev(1, 3))
    said: list[str] = []

    def say(text: str, level: Level) -> None:
        said.append(text)

    limits = Limits(*LIMITS.values())
    assert list_files(Output(tmp_path, PurePosixPath("dist"), limits, uid=64_999), say) == []
    assert sorted(said) == [
        "Skipped `link.html`: it is a hard link to a file of somebody else",
        "Skipped `null`: it is a device",
    ]


def test_f47_rules_are_not_read_from_a_hard_link_to_the_file_of_another(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root's")
    os.link(tmp_path / "secret", tmp_path / "_redirects")
    name, owner = PurePosixPath("_redirects"), os.stat(tmp_path / "secret").st_uid
    with pytest.raises(UnsafePath, match="somebody else"):
        read_bytes(tmp_path, name, owner=owner + 1)
    assert read_bytes(tmp_path, name, owner=owner) == b"root's"


def test_f47_an_output_full_of_links_says_how_many_were_left_out(tmp_path: Path) -> None:
    make = "mkdir dist; cd dist; for i in $(seq 1 500); do ln -s /etc/passwd link-$i; done"
    with make_site(tmp_path, {"a.txt": ""}, settings={"buildCommand": make, "outputDir": "dist"}) as site:
        site.build()
        assert site.web.finished == {"outcome": "failed", "reason": "The output folder `dist` has no files in it"}
        assert "Skipped 480 more that are no regular files" in site.web.texts
