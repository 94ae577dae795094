"""The periodic work of each server and worker process: leases, recovery, and imports of providers."""

import logging
import threading

from django.db import Error, connection

from agents import language_models
from executions.jobs import leases
from executions.jobs.recovery import enqueue_lost_jobs, recover_lost_runs
from executions.providers import get_provider

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
        leases.extend()
        recover_lost_runs()
        enqueue_lost_jobs()
        models = language_models.offered(None).values()
    except Error as error:
        logger.warning("cannot extend leases or recover runs: %s", type(error).__name__)
        return
    finally:
        connection.close()
    # Importing the SDK of a provider takes a second. A run should not wait for it.
    for name in {model.provider for model in models}:
        get_provider(name)
