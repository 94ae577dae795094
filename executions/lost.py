"""Lost runs: executions that are still `running` after their time limit, because their process ended.

The database's clock decides, so a run that is still active in another process is never changed. Every server
process calls `fail_lost_runs` regularly; the command `fail_lost_runs` does it once.
"""

import logging
from datetime import timedelta

from django.db.models import DurationField, ExpressionWrapper, F, IntegerField
from django.db.models.functions import Cast, Extract, Now

from executions.models import Execution
from executions.stop_reasons import StopReason

logger = logging.getLogger("map.runs")

# For a run that reaches its time limit and is about to store its end.
GRACE_PERIOD = timedelta(seconds=10)


def fail_lost_runs() -> int:
    """Mark lost runs as failed with the code `LOST`, and return their number. Raises DatabaseError."""
    age = ExpressionWrapper(Now() - F("created_at"), DurationField())
    count = Execution.objects.filter(
        status=Execution.Status.RUNNING, finish_by__lt=Now() - GRACE_PERIOD
    ).update(
        status=Execution.Status.FAILED,
        stop_reason=StopReason.LOST,
        error_code="LOST",
        latency_ms=Cast(Extract(age, "epoch") * 1000, IntegerField()),
    )
    if count:
        logger.warning("%s lost runs marked as failed: their processes ended", count)
    return count
