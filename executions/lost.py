"""Runs whose process is gone: on record they go on, and nobody is there to end them.

Such a run is known by its bound, which has passed, on the database's clock. So a run of another server
that lives is never touched, and it does not matter who looks: each server process does, from its start
on and every now and then, and an operator may (`manage.py fail_lost_runs`).
"""

import logging
from datetime import timedelta

from django.db.models import DurationField, ExpressionWrapper, F, IntegerField
from django.db.models.functions import Cast, Extract, Now

from executions.models import Execution

logger = logging.getLogger("map.runs")

# A run that ends at its bound may need a moment more to say so.
GRACE = timedelta(seconds=10)


def fail_lost_runs() -> int:
    """Fails them, with the code `LOST`; gives how many they were. Raises django.db.DatabaseError."""
    age = ExpressionWrapper(Now() - F("created_at"), DurationField())
    lost = Execution.objects.filter(
        status=Execution.Status.RUNNING, finish_by__lt=Now() - GRACE
    ).update(
        status=Execution.Status.FAILED,
        stop_reason="lost",
        error_code="LOST",
        latency_ms=Cast(Extract(age, "epoch") * 1000, IntegerField()),
    )
    if lost:
        logger.warning("%s lost runs failed: their process is gone", lost)
    return lost
