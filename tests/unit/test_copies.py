"""Programs whose work copies of themselves do: nothing that they share is looked through for garbage."""

from __future__ import annotations

import gc
import subprocess
import sys
from pathlib import Path

import pytest

from autostack.copies import made_to_stay
from autostack.worker import JOBS
from tests.stack import ROOT

# Says how many objects it never looks through, having begun to look at others again.
PROGRAM = """
import gc
from autostack.copies import made_for_good
with made_for_good():
    stays = [[] for _ in range(1000)]
assert gc.isenabled()
print(gc.get_freeze_count())
"""


def test_no_garbage_is_looked_for_while_something_is_made_that_stays() -> None:
    with made_to_stay():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_is_looked_for_again_where_something_could_not_be_made() -> None:
    with pytest.raises(OSError, match="no room"), made_to_stay():
        raise OSError("no room")
    assert gc.isenabled()


def test_what_is_made_within_something_else_ends_it_not() -> None:
    with made_to_stay():
        with made_to_stay():
            pass
        assert not gc.isenabled()


def test_what_was_made_for_good_is_never_looked_through() -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, check=True)
    assert int(told.stdout) > 1000


def test_a_worker_has_loaded_every_job_before_it_becomes_a_copy() -> None:
    features = {path.parent.name for path in Path(ROOT, "autostack").glob("*/jobs.py")}
    assert set(JOBS) == {f"autostack.{feature}.jobs" for feature in features}
