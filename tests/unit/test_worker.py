"""What a worker makes once for all of its jobs."""

from __future__ import annotations

from pathlib import Path

import autostack
from autostack.worker import JOBS


def test_the_jobs_of_every_feature_are_loaded_before_the_first_of_them():
    features = {path.parent.name for path in Path(autostack.__file__).parent.glob("*/jobs.py")}
    assert set(JOBS) == {f"autostack.{feature}.jobs" for feature in features}
