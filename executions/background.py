"""What a server process does beside its requests, from its start on, now and then."""

import logging
import threading

from django.db import Error, connection

from agents import language_models
from executions.lost import fail_lost_runs
from executions.providers import provider

logger = logging.getLogger("map.runs")

_INTERVAL_SECONDS = 15.0


def begin() -> None:
    """Once now, before the first request, and from then on for as long as the process lives."""
    _look_after()
    threading.Thread(target=_run, name="background", daemon=True).start()


def _run() -> None:
    wake = threading.Event()
    while not wake.wait(_INTERVAL_SECONDS):
        _look_after()


def _look_after() -> None:
    try:
        fail_lost_runs()
        names = {model.provider for model in language_models.offered(None).values()}
    except Error as error:
        logger.warning("lost runs not looked for: %s", type(error).__name__)
        return
    finally:
        connection.close()
    # The SDK of one takes a second to import, for which no run should wait.
    for name in names:
        provider(name)
