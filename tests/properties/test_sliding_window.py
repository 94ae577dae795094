"""The script compared with a reference model, for any sequence of clock readings and limits."""

import random
import uuid
from bisect import bisect_right
from collections.abc import Iterable, Iterator

import pytest
from django.conf import settings
from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis import Redis

from ratelimit.limiter import SCRIPT, window_key

pytestmark = pytest.mark.slow

TIME = "call('TIME')"
# The same script with the clock as an argument.
SCRIPT_WITH_CLOCK = SCRIPT.replace(TIME, "{ ARGV[3], ARGV[4] }")
SECOND = 1_000_000
START = 1_800_000_000 * SECOND
WRAP = 2**32
BOUNDS = (1, 60, 2_100)

Call = tuple[int, int]  # the clock in microseconds, the limit
Reply = list[int]


class Model:
    """The times of the admitted calls, oldest first, in a list."""

    def __init__(self, window_seconds: int) -> None:
        self.window = window_seconds * SECOND
        self.admitted: list[int] = []

    def take(self, clock: int, limit: int) -> Reply:
        now = max([clock, *self.admitted[-1:]])
        taken = self.admitted[bisect_right(self.admitted, now - self.window) :]
        if len(taken) < limit:
            self.admitted.append(now)
            taken.append(now)
            return [1, len(taken), 0, taken[0] + self.window - clock, clock]
        if not taken:
            return [0, 0, 0, 0, clock]
        blocking = taken[len(taken) - limit] if limit else taken[-1]
        waits = (unit + self.window - clock for unit in (blocking, taken[0]))
        return [0, len(taken), *waits, clock]


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis.from_url(settings.REDIS_URL, protocol=2) as client:
        yield client


def run_calls(redis: Redis, window_seconds: int, calls: Iterable[Call]) -> list[Reply]:
    """Run `calls` in one pipeline on a new log and return the replies of the script."""
    key = window_key(uuid.uuid4(), window_seconds)
    sha1 = redis.script_load(SCRIPT_WITH_CLOCK)
    pipeline = redis.pipeline(transaction=False)
    for clock, limit in calls:
        pipeline.evalsha(sha1, 1, key, limit, window_seconds, clock // SECOND, clock % SECOND)
    pipeline.delete(key)
    return pipeline.execute()[:-1]


def steps(window_seconds: int, *, backwards: bool) -> st.SearchStrategy[int]:
    """Microseconds from one call to the next, mostly near a boundary."""
    window = window_seconds * SECOND
    near = st.sampled_from([window // 100, window // 2, window - 1, window, window + 1, 2 * window])
    wraps = st.sampled_from([WRAP - window, WRAP - 1, WRAP, WRAP + 1, WRAP + window])
    forward = st.one_of(st.integers(0, 3), st.integers(0, window), near, wraps)
    return st.one_of(forward, forward.map(int.__neg__)) if backwards else forward


@st.composite
def sequences(draw: st.DrawFn, *, backwards: bool) -> tuple[int, list[Call]]:
    """A window and a sequence of calls in bursts, each with its clock reading and limit."""
    window_seconds = draw(st.sampled_from(BOUNDS))
    limits = st.one_of(st.integers(0, 5), st.sampled_from([100, 127, 128, 129, 300, 1_000]))
    bursts = st.tuples(steps(window_seconds, backwards=backwards), st.integers(0, 3), limits)
    clock = START - START % WRAP + draw(st.integers(-3, 3)) * SECOND
    calls = []
    for step, pace, limit in draw(st.lists(bursts, max_size=30)):
        clock += step
        for _ in range(draw(st.sampled_from([1, 1, 2, 5, 130]))):
            calls.append((clock, limit))
            clock += pace
    return window_seconds, calls


def run_model(window_seconds: int, calls: Iterable[Call]) -> list[Reply]:
    model = Model(window_seconds)
    return [model.take(clock, limit) for clock, limit in calls]


thorough = hypothesis_settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def test_the_script_reads_the_clock_once() -> None:
    assert SCRIPT.count(TIME) == 1
    assert SCRIPT.count("ARGV[3]") == 0


# A ring with room for three units wraps four times, is full at a wrap, grows, and becomes empty.
PACE = 350_000
ROUND = [
    *((START + n * PACE, 3) for n in range(13)),
    *[(START + 13 * PACE, 300)] * 200,
    *((START + n * PACE, 300) for n in range(14, 18)),
]


@thorough
@given(sequence=sequences(backwards=False))
@example(sequence=(1, ROUND))
@example(sequence=(1, [(START, 1), (START + SECOND - 1, 1), (START + SECOND, 1)]))
@example(sequence=(2_100, [(START + n * 700 * SECOND, 3) for n in range(20)]))
def test_the_script_equals_the_model_while_the_clock_runs_forward(
    redis: Redis, sequence: tuple[int, list[Call]]
) -> None:
    window_seconds, calls = sequence
    assert run_calls(redis, window_seconds, calls) == run_model(window_seconds, calls)


@thorough
@given(sequence=sequences(backwards=True))
def test_the_script_equals_the_model_when_the_clock_steps_back(
    redis: Redis, sequence: tuple[int, list[Call]]
) -> None:
    window_seconds, calls = sequence
    assert run_calls(redis, window_seconds, calls) == run_model(window_seconds, calls)


@thorough
@given(sequence=sequences(backwards=True), limit=st.sampled_from([1, 2, 5, 128, 129]))
def test_no_window_holds_more_than_the_limit(
    redis: Redis, sequence: tuple[int, list[Call]], limit: int
) -> None:
    window_seconds, calls = sequence
    latest, admitted = 0, []
    replies = run_calls(redis, window_seconds, [(clock, limit) for clock, _ in calls])
    for reply in replies:
        latest = max(latest, reply[4])
        if reply[0]:
            admitted.append(latest)
    spans = zip(admitted, admitted[limit:], strict=False)
    assert all(after - before >= window_seconds * SECOND for before, after in spans)


@thorough
@given(sequence=sequences(backwards=True), limit=st.integers(1, 300))
def test_a_call_is_admitted_after_the_reported_wait_and_not_before(
    redis: Redis, sequence: tuple[int, list[Call]], limit: int
) -> None:
    window_seconds, calls = sequence
    clock = calls[-1][0] if calls else START
    _, _, wait, _, _ = run_calls(redis, window_seconds, [*calls, (clock, limit)])[-1]
    if wait == 0:
        return
    later = [*calls, (clock, limit), (clock + wait - 1, limit), (clock + wait, limit)]
    too_early, admitted = run_calls(redis, window_seconds, later)[-2:]
    assert (too_early[0], too_early[2], admitted[0]) == (0, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("window_seconds", BOUNDS)
def test_a_long_random_sequence(redis: Redis, window_seconds: int) -> None:
    source = random.Random(window_seconds)
    calls, clock, limit = [], START, 100
    for _ in range(40_000):
        if source.random() < 0.01:
            limit = source.choice([1, 2, 50, 100, 200, 500])
        idle = source.random() < 0.002
        clock += source.randrange(
            window_seconds * SECOND * (2 if idle else 1) // (1 if idle else 100)
        )
        calls.append((clock, limit))
    assert run_calls(redis, window_seconds, calls) == run_model(window_seconds, calls)
