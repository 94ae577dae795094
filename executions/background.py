"""The periodic work of each server and worker process: leases, recovery, and imports of providers."""

import logging
import threading
from collections.abc import Callable, Sequence

from django.db import Error, connection

from agents import language_models
from executions.jobs import leases
from executions.jobs.recovery import enqueue_lost_jobs, recover_lost_runs
from executions.jobs.slots import enqueue_waiting_runs
from executions.providers import get_provider
from ratelimit.idempotency import delete_expired
from ratelimit.leases import extend_all
from ratelimit.limiter import LimiterUnavailable

logger = logging.getLogger("map.runs")

# A third of a lease.
INTERVAL_SECONDS = 5.0


def begin() -> None:
    """Do the work once, before the first request, and start a thread that repeats it."""
    _work()
    threading.Thread(target=_work_periodically, name="background", daemon=True).start()


def _work_periodically() -> None:
    wake = threading.Event()
    while not wake.wait(INTERVAL_SECONDS):
        _work()


def _work() -> None:
    try:
        for task in _TASKS:
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


_TASKS: Sequence[Callable[[], object]] = (
    leases.extend,
    extend_all,
    recover_lost_runs,
    enqueue_lost_jobs,
    enqueue_waiting_runs,
    delete_expired,
    _import_providers,
)
