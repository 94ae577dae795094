"""The response to a run call that repeats an idempotency key, if its response is not stored."""

import time
from datetime import timedelta

from django.http import HttpResponse
from django.utils import timezone

from executions.errors import ExecutionNotFound, RunInterrupted
from executions.models import Execution
from map_project.postgresql.connections import released_connection
from ratelimit.errors import IdempotencyInProgress
from ratelimit.idempotency import replayed
from ratelimit.middleware import POLL_SECONDS, WAIT_SECONDS
from ratelimit.models import IdempotentRequest

# A process stores the response right after the end of the run.
STORED_WITHIN = timedelta(seconds=2)


def repeated_execution(stored: IdempotentRequest) -> Execution:
    """Return the execution of a request. Raises ExecutionNotFound if an operator has deleted it."""
    execution = Execution.objects.filter(pk=stored.execution_id).first()
    if execution is None:
        raise ExecutionNotFound(execution_id=str(stored.execution_id))
    return execution


def await_response(stored: IdempotentRequest) -> HttpResponse | Execution:
    """Wait for a foreground run, and return its response, or the execution if the response was lost.

    A run that waits for approvals is returned as well.

    Raises IdempotencyInProgress if the run takes longer, RunInterrupted if it failed and the error was lost,
    and ExecutionNotFound.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        stored.refresh_from_db()
        if stored.response_status is not None:
            return replayed(stored)
        execution = repeated_execution(stored)
        if execution.status == Execution.Status.REQUIRES_ACTION:
            return execution
        ended_at = execution.finished_at
        if ended_at and ended_at < timezone.now() - STORED_WITHIN:
            if execution.status == Execution.Status.FAILED:
                raise RunInterrupted(execution_id=str(execution.pk))
            return execution
        if time.monotonic() >= deadline:
            raise IdempotencyInProgress.of(stored.execution_id)
        with released_connection():
            time.sleep(POLL_SECONDS)
