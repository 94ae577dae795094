"""Properties of the decisions about budgets, over all orders in which calls begin and end."""

import uuid
from datetime import UTC, date, datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from map_project.usage.budgets import Decision, Period, PeriodName, Spending, decide

AMOUNTS = st.integers(0, 1_000).map(lambda number: Decimal(number) / 100)
# What a call costs, and by how much its estimate is higher.
CALLS = st.lists(st.tuples(AMOUNTS, AMOUNTS), min_size=1, max_size=30)
ENDS = {"day": (2026, 11, 28), "month": (2026, 12, 1)}


def period(name: PeriodName, limit: Decimal, spent: Decimal) -> Period:
    return Period(name, date(2026, 11, 1), datetime(*ENDS[name], tzinfo=UTC), limit, spent)


def spending(limits: dict[PeriodName, Decimal], spent: Decimal, reserved: Decimal) -> Spending:
    periods = tuple(period(name, limit, spent) for name, limit in limits.items())
    return Spending(uuid.UUID(int=0), 80, reserved, periods)


@given(calls=CALLS, day=AMOUNTS, month=AMOUNTS, data=st.data())
def test_spending_never_exceeds_a_budget_by_more_than_one_call(
    calls: list[tuple[Decimal, Decimal]], day: Decimal, month: Decimal, data: st.DataObject
) -> None:
    limits: dict[PeriodName, Decimal] = {"day": day, "month": month}
    waiting, spent = [*calls], Decimal(0)
    running: list[tuple[Decimal, Decimal]] = []
    largest = max(cost for cost, _ in calls)
    while waiting or running:
        admitted = []
        for cost, margin in waiting:
            reserved = sum((c + m for c, m in running), Decimal(0))
            decision = decide(spending(limits, spent, reserved), cost + margin)
            is_exhausted = spent >= min(limits.values())
            assert (decision is Decision.REFUSE) == is_exhausted, "refused while money is left"
            if decision is Decision.ADMIT:
                running.append((cost, margin))
                admitted.append((cost, margin))
            elif decision is Decision.REFUSE:
                admitted.append((cost, margin))
            else:
                assert running or reserved, "a call waits for nothing"
        for call in admitted:
            waiting.remove(call)
        if running:
            cost, _ = running.pop(data.draw(st.integers(0, len(running) - 1)))
            spent += cost
        overshoot = spent - min(limits.values())
        assert overshoot < largest or overshoot <= 0


@given(limit=AMOUNTS, spent=AMOUNTS, reserved=AMOUNTS, estimate=AMOUNTS)
def test_without_a_budget_every_call_is_admitted(
    limit: Decimal, spent: Decimal, reserved: Decimal, estimate: Decimal
) -> None:
    assert decide(spending({}, spent, reserved), estimate) is Decision.ADMIT
    both = spending({"day": limit, "month": limit}, spent, reserved)
    exhausted = both.exhausted
    # Of two exhausted budgets, the one that is reset later.
    assert (exhausted.name if exhausted else None) == ("month" if spent >= limit else None)
