"""Reservations: before each call of a model with prices, of tenants that have a budget.

A call reserves what it may cost at most. The reservation ends in the transaction that stores the call's step
with its cost (`executions.records`), or that ends the run.
"""

import random
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import TypeVar

from django.db import transaction

from executions.budgets.warnings import warn
from executions.costs import estimated_cost_usd
from executions.errors import BudgetExceeded
from executions.inserts import RunRequest
from executions.jobs import leases
from executions.outcomes import RunPostponed, RunStopped
from executions.providers import ModelRequest
from executions.records import RunRecord
from executions.stop_reasons import StopReason
from map_project.postgresql.connections import released_connection, with_retries
from map_project.usage import budgets
from map_project.usage.budgets import Decision, Spending

Result = TypeVar("Result")

# Between two looks at the spending, while other calls have reserved the rest of the budget.
_FIRST_DELAY_SECONDS, _MAX_DELAY_SECONDS = 0.05, 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a model by an execution, which waits for its reservation until `deadline`.

    `check` is called while it waits, and may raise. If `postponed` is set, it is raised instead of waiting.
    """

    tenant_id: uuid.UUID
    execution_id: uuid.UUID
    estimate_usd: Decimal
    deadline: float
    check: Callable[[], None] = lambda: None
    retry_delays_seconds: Sequence[float] = ()
    postponed: RunPostponed | None = None


def check_budget(tenant_id: uuid.UUID) -> None:
    """Raise BudgetExceeded if a budget of the tenant is exhausted."""
    if period := budgets.read_spending(tenant_id).exhausted:
        raise BudgetExceeded.of(period)


def reserve_first_call(
    request: RunRequest,
    model_request: ModelRequest,
    execution_id: uuid.UUID,
    insert: Callable[..., Result],
) -> Result:
    """Insert an execution with `reserved_usd`, for its first call. Raises BudgetExceeded.

    Nothing is stored before the budget admits the call.
    """
    estimate_usd = estimated_cost_usd(model_request)
    tenant_id, deadline = request.agent.tenant_id, model_request.deadline
    call = Call(tenant_id, execution_id, estimate_usd, deadline)
    return _reserve(call, partial(insert, reserved_usd=estimate_usd))


def reserve_next_call(
    record: RunRecord, model_request: ModelRequest, check: Callable[[], None]
) -> None:
    """Reserve for the next call of a run in progress.

    Raises RunStopped, RunPostponed if the first call of a run in a worker would have to wait, LeaseLost and
    DatabaseError. No query for a run without a budget, or with a reservation.
    """
    if record.has_reservation or not record.is_budgeted:
        record.has_reservation = False
        return
    estimate_usd = estimated_cost_usd(model_request)
    call = Call(
        record.tenant_id,
        record.execution_id,
        estimate_usd,
        model_request.deadline,
        check,
        record.retry_delays_seconds,
        postponed=None if record.position else RunPostponed(record.attempt),
    )

    def store() -> None:
        held = leases.held(record.execution_id, record.attempt)
        if not held.update(reserved_usd=estimate_usd):
            raise leases.LeaseLost

    try:
        _reserve(call, store)
    except BudgetExceeded:
        raise RunStopped(StopReason.BUDGET_EXCEEDED) from None


def _reserve(call: Call, store: Callable[[], Result]) -> Result:
    """Return the result of `store`, which is called in the transaction that admits the call.

    While other calls have reserved the rest of the budget, this waits, without a database connection.
    Without a budget every call is admitted.
    """
    delay_seconds = _FIRST_DELAY_SECONDS
    while True:
        # Without the lock, which many calls may wait for. Spending only grows, so a refusal is final.
        look = partial(budgets.read_spending, call.tenant_id, call.execution_id)
        spending = with_retries(look, call.retry_delays_seconds)
        if not spending.periods:
            # The budgets were deleted after the run began.
            return with_retries(store, call.retry_delays_seconds)
        warn(spending)
        decision = budgets.decide(spending, call.estimate_usd)
        if decision is Decision.ADMIT:
            with suppress(budgets.LockTimeout):
                results = with_retries(partial(_store, call, store), call.retry_delays_seconds)
                if results:
                    return results[0]
        if decision is Decision.WAIT and call.postponed:
            raise call.postponed
        if decision is Decision.REFUSE or time.monotonic() >= call.deadline:
            raise _refusal(spending)
        with released_connection():
            time.sleep(delay_seconds * random.uniform(0.5, 1))  # noqa: S311  jitter
        call.check()
        delay_seconds = min(1.5 * delay_seconds, _MAX_DELAY_SECONDS)


@transaction.atomic
def _store(call: Call, store: Callable[[], Result]) -> list[Result]:
    """Return the result of `store`, or nothing if another call was faster."""
    budgets.lock(call.tenant_id)
    spending = budgets.read_spending(call.tenant_id, call.execution_id)
    is_admitted = budgets.decide(spending, call.estimate_usd) is Decision.ADMIT
    return [store()] if is_admitted else []


def _refusal(spending: Spending) -> BudgetExceeded:
    if period := spending.exhausted:
        return BudgetExceeded.of(period)
    return BudgetExceeded.reserved(spending.tightest)
