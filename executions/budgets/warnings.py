"""The warning before a budget is exhausted: once per tenant, budget and period."""

import logging
import uuid
from datetime import date
from typing import Any

from django.db import DatabaseError, transaction

from map_project.usage.budgets import Period, Spending, read_spending
from map_project.usage.models import BudgetWarning
from map_project.webhooks.services import record_event

logger = logging.getLogger("map.runs")

EVENT_TYPE = "budget.warning"
_MAX_KNOWN = 10_000

# Tenant, budget and beginning of the period. Saves a query after the warning.
_known: set[tuple[uuid.UUID, str, date]] = set()


def warn_after_step(tenant_id: uuid.UUID) -> None:
    """Record the warnings that are due after the cost of a call was committed."""
    try:
        warn(read_spending(tenant_id))
    except DatabaseError as error:
        # The next call of a model repeats it.
        logger.warning("the budget was not checked: %s", type(error).__name__)


def warn(spending: Spending) -> None:
    """Record the warnings that are due, and their events for webhooks. Raises DatabaseError."""
    for period in spending.periods:
        key = (spending.tenant_id, period.name, period.starts_on)
        if period.percent >= spending.warning_percent and period.limit_usd and key not in _known:
            _record(spending.tenant_id, period)
            if len(_known) >= _MAX_KNOWN:
                _known.clear()
            _known.add(key)


@transaction.atomic
def _record(tenant_id: uuid.UUID, period: Period) -> None:
    _, is_new = BudgetWarning.objects.get_or_create(
        tenant_id=tenant_id, period=period.name, starts_on=period.starts_on
    )
    if is_new:
        record_event(tenant_id=tenant_id, event_type=EVENT_TYPE, data=_data(period))


def _data(period: Period) -> dict[str, Any]:
    return {"period": period.name, **period.details(), "percent": period.percent}
