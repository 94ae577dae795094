"""The tasks of workers. Each runs in a thread: agents and the ORM are synchronous.

A worker that stops cancels a task, and its thread continues. `executions.jobs.worker` waits for it.
"""

import asyncio
import uuid

from procrastinate import Blueprint

from executions.jobs.queue import QUEUE, RUN
from executions.jobs.runs import run_queued

NAMESPACE, _, _NAME = RUN.partition(":")

tasks = Blueprint()


@tasks.task(name=_NAME, queue=QUEUE)
async def run(execution_id: str) -> None:
    """Run a queued execution."""
    await asyncio.to_thread(run_queued, uuid.UUID(execution_id))
