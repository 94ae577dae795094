"""The queue of background runs.

The queue only carries the IDs: what is to be done is in the execution. A job that arrives twice, or too late,
finds no queued execution and does nothing.
"""

import uuid
from contextlib import suppress

from django.db import OperationalError, transaction
from procrastinate.contrib.django import app
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException

from executions.models import Execution

QUEUE = "runs"
# The name of the task in `executions.jobs.tasks`, which only workers import.
RUN = "executions:run"


def enqueue(execution_id: uuid.UUID) -> None:
    """Add a job for a queued execution, in the current transaction. Raises DatabaseError."""
    lock = str(execution_id)
    job = app.configure_task(RUN, queue=QUEUE, queueing_lock=lock)
    try:
        # The savepoint keeps the transaction valid if the queue has this job.
        with suppress(AlreadyEnqueued), transaction.atomic():
            job.defer(execution_id=lock)
    except ConnectorException as error:
        # procrastinate has replaced Django's exception.
        raise OperationalError("the job could not be stored") from error


def requeue(execution: Execution, *, attempt: int) -> None:
    """Queue a running execution again, in the current transaction. Its row must be locked."""
    Execution.objects.filter(pk=execution.pk).update(
        status=Execution.Status.QUEUED,
        attempt=attempt,
        lease_owner="",
        lease_expires_at=None,
    )
    enqueue(execution.pk)
