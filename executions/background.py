"""The periodic work of each server and worker process: leases, recovery, events, and imports of providers."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from django.db import Error, connection

from agents import language_models
from executions import tracing
from executions.approvals.services import end_expired
from executions.events import reading
from executions.events.open_streams import store_open_streams
from executions.events.recording import store_pending
from executions.history.blocks import index_history
from executions.history.pruning import apply_retention
from executions.jobs import leases
from executions.jobs.recovery import enqueue_lost_jobs, recover_lost_runs
from executions.jobs.slots import enqueue_waiting_runs
from executions.providers import get_provider
from map_project.usage.folding import fold_usage
from ratelimit import denials, idempotency
from ratelimit.leases import extend_all
from ratelimit.limiter import LimiterUnavailable

logger = logging.getLogger("map.runs")

# A third of a lease.
INTERVAL_SECONDS = 5.0

Tasks = Sequence[Callable[[], object]]


def begin() -> None:
    """Do the work once, before the first request, and start threads that repeat it."""
    tracing.begin()
    _work(_TASKS)
    for seconds, tasks in ((INTERVAL_SECONDS, _TASKS), *_OTHER_TASKS):
        threading.Thread(
            target=_repeat, args=(seconds, tasks), name="background", daemon=True
        ).start()


def _repeat(interval_seconds: float, tasks: Tasks) -> None:
    while True:
        time.sleep(interval_seconds)
        _work(tasks)


def _work(tasks: Tasks) -> None:
    try:
        for task in tasks:
            try:
                task()
            except (Error, LimiterUnavailable) as error:
                logger.warning("%s failed: %s", task.__name__, type(error).__name__)
    finally:
        connection.close()


def _import_providers() -> None:
    """Import the SDKs of the active models. It takes a second, for which a run should not wait."""
    models = language_models.offered(None).values()
    for name in {model.provider for model in models}:
        get_provider(name)


_TASKS: Tasks = (
    leases.extend,
    extend_all,
    recover_lost_runs,
    enqueue_lost_jobs,
    enqueue_waiting_runs,
    end_expired,
    idempotency.delete_expired,
    reading.delete_expired,
    denials.store_denials,
    fold_usage,
    store_open_streams,
    _import_providers,
)
# By their intervals in seconds.
_OTHER_TASKS: Sequence[tuple[float, Tasks]] = (
    (0.2, (store_pending,)),
    (0.5, (leases.find_lost,)),
    (10.0, (index_history,)),
    (60.0, (apply_retention,)),
)
