"""`autostack up --example`, all of it, where a newcomer's machine is not as ours."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stack import running_stack


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def test_the_example_is_deployed_under_a_strict_umask_and_from_a_folder_with_a_space(tmp_path: Path) -> None:
    folder = tmp_path / "my sites"
    folder.mkdir()
    with umask(0o077), running_stack(folder, options=["--example"]) as stack:
        assert " deployed in " in stack.log.read_text()
        page = stack.get_site("http://hello-autostack.localhost")
        assert page.status_code == 200
        assert stat.S_IMODE(stack.data_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((stack.data_dir / "secrets.json").stat().st_mode) == 0o600
        # The command finds the services of this folder, whose address nobody has given.
        command = [Path(sys.executable).with_name("autostack"), "users", "--data-dir", stack.data_dir]
        subprocess.run([*command, "promote", "demo@example.com"], check=True, timeout=120)
        assert subprocess.check_output([*command, "list"], timeout=120) == b"demo@example.com\tDemo\tadmin\n"
