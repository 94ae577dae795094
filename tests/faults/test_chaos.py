"""A short version of `make chaos`."""

import time

import pytest

from tests.faults.chaos import run


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_by_random_faults() -> None:
    report = run(12, seed=time.time_ns() % 10**6)
    assert not report.violations, str(report)
    assert report.executions["succeeded completed"] > 10, str(report)
