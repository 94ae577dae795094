"""The worker process: runs queued executions, and other jobs, in threads.

procrastinate fetches jobs on an asyncio loop; each job waits for a thread of the loop's default executor. The
threads outlive procrastinate's worker: it is started again after an interruption of the database, while the
runs in progress continue under their leases.
"""

import asyncio
import logging
import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from django.conf import settings
from procrastinate import App, PsycopgConnector
from procrastinate.contrib.django.utils import connector_params

from executions import background, tracing
from executions.jobs import leases, recovery
from executions.jobs.readiness import serve_readiness
from executions.jobs.tasks import NAMESPACE, tasks
from map_project.postgresql.connections import with_retries
from map_project.webhooks import delivery

logger = logging.getLogger("map.worker")

RESTART_SECONDS = 1.0
# Jobs are announced. Polling finds those that are due at a time.
POLLING_SECONDS = 1.0
_WAIT_STEP_SECONDS = 0.05
_RETRY_DELAYS_SECONDS = (0.2, 0.5, 1.0, 2.0)


def run_worker() -> None:
    """Run jobs until SIGTERM or SIGINT, then wait for the runs in progress and hand back the others.

    The process ends without waiting for its threads: those left over may wait for a model or a tool.
    Raises OSError if it cannot listen on WORKER_PORT.
    """
    background.begin()
    executor = ThreadPoolExecutor(settings.WORKER_CONCURRENCY, thread_name_prefix="job")
    # Not `asyncio.run`, which would wait for all threads.
    asyncio.new_event_loop().run_until_complete(_serve(executor))
    _drain()
    tracing.end()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(0)


async def _serve(executor: ThreadPoolExecutor) -> None:
    """Fetch jobs until a signal to stop."""
    loop = asyncio.get_running_loop()
    loop.set_default_executor(executor)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if settings.WORKER_PORT:
        serve_readiness(settings.HOST, settings.WORKER_PORT)
    # Its threads must not run while the process exits with the error of a port in use.
    delivery.begin()
    while not stop.is_set():
        fetching = asyncio.create_task(_fetch())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((fetching, stopping), return_when=asyncio.FIRST_COMPLETED)
        fetching.cancel()
        stopping.cancel()
        (error, _) = await asyncio.gather(fetching, stopping, return_exceptions=True)
        if not stop.is_set():
            logger.warning("fetching jobs was interrupted: %s", type(error).__name__)
            await asyncio.sleep(RESTART_SECONDS)


async def _fetch() -> None:
    """Run procrastinate's worker until it is cancelled, or the database is lost."""
    # Not the app of `procrastinate.contrib.django`, with which threads add jobs in Django's transactions.
    app = App(connector=PsycopgConnector(kwargs=connector_params(), min_size=1, max_size=4))
    app.add_tasks_from(tasks, namespace=NAMESPACE)
    async with app.open_async():
        await app.run_worker_async(
            concurrency=settings.WORKER_CONCURRENCY,
            fetch_job_polling_interval=POLLING_SECONDS,
            # The threads go on.
            shutdown_graceful_timeout=0,
            install_signal_handlers=False,
            # The execution is the record of the run.
            delete_jobs="always",
        )


def _drain() -> None:
    """Wait for the runs in progress, and hand back those that are not over in time, or at another signal."""
    deadline = time.monotonic() + settings.GRACEFUL_TIMEOUT_SECONDS
    is_aborted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: is_aborted.set())
    while leases.in_progress() and time.monotonic() < deadline and not is_aborted.is_set():
        time.sleep(_WAIT_STEP_SECONDS)
    if leases.in_progress():
        with_retries(recovery.hand_back, _RETRY_DELAYS_SECONDS)
