"""Empty tasks of procrastinate: `python -m benchmarks.jobs_empty COUNT` prints the seconds that they take."""

import asyncio
import sys
import time

import django
from procrastinate import App, PsycopgConnector


async def measure(count: int) -> float:
    """Add the jobs, and return the seconds in which a worker does them, as `executions.jobs.worker` would."""
    from django.conf import settings
    from procrastinate.contrib.django.utils import connector_params

    app = App(connector=PsycopgConnector(kwargs=connector_params(), min_size=1, max_size=4))

    @app.task(name="empty", queue="empty")
    async def empty(number: int) -> None:
        """Do nothing."""

    async with app.open_async():
        for number in range(count):
            await empty.defer_async(number=number)
        started = time.perf_counter()
        await app.run_worker_async(
            queues=["empty"],
            concurrency=settings.WORKER_CONCURRENCY,
            delete_jobs="always",
            wait=False,
            install_signal_handlers=False,
        )
        return time.perf_counter() - started


if __name__ == "__main__":
    django.setup()
    print(asyncio.run(measure(int(sys.argv[1]))))
