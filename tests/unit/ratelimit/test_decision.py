"""The times in the response headers, rounded up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit.limiter import Decision

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND


def decision(*, retry_after_us: int = 0, next_free_us: int = 1, now: int = NOW) -> Decision:
    return Decision(
        allowed=not retry_after_us,
        limit=100,
        window_seconds=60,
        remaining=0,
        retry_after_us=retry_after_us,
        next_free_us=next_free_us,
        server_time_us=now,
    )


@pytest.mark.parametrize(
    ("microseconds", "seconds"), [(1, 1), (SECOND - 1, 1), (SECOND, 1), (SECOND + 1, 2)]
)
def test_waits_are_whole_seconds_rounded_up(microseconds: int, seconds: int) -> None:
    assert decision(retry_after_us=microseconds).retry_after_seconds == seconds
    assert decision(next_free_us=microseconds).reset_after_seconds == seconds


def test_retry_after_is_never_zero() -> None:
    assert decision(retry_after_us=0).retry_after_seconds == 1


@given(
    now=st.integers(NOW, NOW + 10 * SECOND),
    next_free_us=st.integers(1, 2_100 * SECOND),
)
def test_reset_is_the_first_whole_second_with_the_unit_free(now: int, next_free_us: int) -> None:
    reset = decision(now=now, next_free_us=next_free_us).reset_epoch_seconds
    assert (reset - 1) * SECOND < now + next_free_us <= reset * SECOND
