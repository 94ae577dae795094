"""How the admin shows an execution."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from executions.display import cost, duration, indented_json, latency, period, short_cost, tokens
from executions.models import Execution

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            '{"city":"Bern","days":[1,2]}',
            '{\n  "city": "Bern",\n  "days": [\n    1,\n    2\n  ]\n}',
        ),
        (" [ ] ", "[]"),
        ('{"a": {}, "b": "{[,:]}"}', '{\n  "a": {},\n  "b": "{[,:]}"\n}'),
        # Python's parser would change the number, the escape, and the key that is repeated.
        (
            '{"n":1.00e400,"s":"\\u00e9 \\" ","n":12345678901234567890123}',
            '{\n  "n": 1.00e400,\n  "s": "\\u00e9 \\" ",\n  "n": 12345678901234567890123\n}',
        ),
    ],
)
def test_json_is_indented_and_otherwise_unchanged(text: str, shown: str) -> None:
    assert indented_json(text) == shown


@pytest.mark.parametrize(
    "text",
    ["", "Hello {name}", "{broken", "17", '"text"', "[" * 5000 + "]" * 5000, "[" * 25 + "]" * 25],
)
def test_other_texts_are_unchanged(text: str) -> None:
    assert indented_json(text) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (999, "999 ms"),
        (59_900, "59.9 s"),
        (59_999, "1 min 0 s"),
        (4_200_000, "1 h 10 min"),
        (125_000, "2 min 5 s"),
        (70_000, "1 min 10 s"),
        (3_599_600, "1 h 0 min"),
        (90_000_000, "25 h 0 min"),
    ],
)
def test_duration(milliseconds: int, text: str) -> None:
    assert duration(milliseconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (60, "60 s"),
        (70, "1 min 10 s"),
        (120, "2 min"),
        (3600, "1 h"),
        (4200, "1 h 10 min"),
    ],
)
def test_period(seconds: int, text: str) -> None:
    assert period(seconds) == text


def test_a_running_run_has_a_duration_so_far() -> None:
    run = Execution(status="running", latency_ms=0, created_at=NOW - timedelta(seconds=12))
    assert latency(run, NOW) == "12.0 s so far"
    # The clock of the database can be ahead.
    assert latency(run, NOW - timedelta(minutes=1)) == "0 ms so far"
    run.status, run.latency_ms = "failed", 0
    assert latency(run, NOW) == "0 ms"


def test_unknown_tokens_and_costs_are_not_zero() -> None:
    assert tokens(Execution()) == "-"
    assert tokens(Execution(input_tokens=1234)) == "1,234 in, - out"
    assert tokens(Execution(input_tokens=0, output_tokens=0)) == "0 in, 0 out"
    assert cost(None) == "-"
    assert cost(Decimal("0.000000150")) == "0.00000015 USD"
    assert cost(Decimal("100.000000000")) == "100 USD"
    assert short_cost(None) == "-"
    assert short_cost(Decimal("12345.678901234")) == "12350"
    assert short_cost(Decimal("0.000000150")) == "0.00000015"
