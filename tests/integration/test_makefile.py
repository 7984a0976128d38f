"""The Makefile on a machine that lacks something."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MAKEFILE = Path(__file__).parents[2] / "Makefile"
# Debian's own, without the package python3-venv, ends like this.
WITHOUT_VENV = f"""#!/bin/sh
case "$*" in
  "-m venv "*) mkdir -p "$3/bin" && touch "$3/bin/python" && echo "ensurepip is not available" >&2 && exit 1;;
  *) exec {sys.executable} "$@";;
esac
"""


def test_an_environment_that_could_not_be_made_is_made_once_it_can_be(tmp_path: Path) -> None:
    lacking = tmp_path / "python3"
    lacking.write_text(WITHOUT_VENV)
    lacking.chmod(0o755)

    def make(python: str) -> subprocess.CompletedProcess[str]:
        command = ["make", f"--file={MAKEFILE}", ".venv/bin/python", f"PYTHON={python}"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)

    failed = make(str(lacking))
    assert failed.returncode != 0
    assert "ensurepip is not available" in failed.stderr
    assert make(sys.executable).returncode == 0
    subprocess.run([tmp_path / ".venv/bin/python", "-m", "pip", "--version"], check=True, capture_output=True)
