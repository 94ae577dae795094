"""Leases of running executions.

The process that runs an execution holds its lease and extends it while the run is in progress. Each of its
writes to the execution is conditional on the lease and on the attempt that it has started, so a process that
lost the lease writes nothing: another process may have started the next attempt, or the run may have been
cancelled. The database's clock decides.
"""

import os
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache

from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from executions.models import Execution

# A lost run is noticed after at most this time and the interval of `executions.background`.
LEASE = timedelta(seconds=15)
_RUNNING = Execution.Status.RUNNING

# Execution and attempt.
_in_progress: set[tuple[uuid.UUID, int]] = set()
_in_progress_lock = threading.Lock()
# Of those in progress: the runs that have ended, or continue, in another process.
_lost: set[uuid.UUID] = set()


class LeaseLost(Exception):
    """Another process holds the lease, or the run has ended: this process stops the run."""


def owner() -> str:
    """Return the name of this process on its executions: host, process ID, and a random part."""
    return _owner(os.getpid())


@cache
def _owner(process_id: int) -> str:
    return f"{socket.gethostname()[:60]}:{process_id}:{uuid.uuid4().hex[:8]}"


@contextmanager
def extended(execution_id: uuid.UUID, attempt: int = 1) -> Iterator[bool]:
    """Let `extend` extend the lease of an execution until the block ends.

    Yields False if another thread of this process makes the attempt.
    """
    run = (execution_id, attempt)
    with _in_progress_lock:
        is_first = run not in _in_progress
        _in_progress.add(run)
    try:
        yield is_first
    finally:
        if is_first:
            _in_progress.discard(run)
            _lost.discard(execution_id)


def find_lost() -> None:
    """Find the runs of this process whose lease is lost, for `check`. Raises DatabaseError."""
    if execution_ids := in_progress():
        others = Execution.objects.filter(pk__in=execution_ids).exclude(
            Q(status__in=(Execution.Status.QUEUED, Execution.Status.REQUIRES_ACTION))
            | Q(status=_RUNNING, lease_owner=owner())
        )
        _lost.update(others.values_list("pk", flat=True))


def check(execution_id: uuid.UUID) -> None:
    """Raise LeaseLost if `find_lost` has found the run. Needs no query."""
    if execution_id in _lost:
        raise LeaseLost


def in_progress() -> list[uuid.UUID]:
    """Return the executions that this process runs."""
    return [*{execution_id for execution_id, _ in _in_progress.copy()}]


def extend() -> None:
    """Extend the leases of the runs in progress in this process. Raises DatabaseError."""
    if execution_ids := in_progress():
        own = running().filter(pk__in=execution_ids, lease_owner=owner())
        own.update(lease_expires_at=Now() + LEASE)


def held(execution_id: uuid.UUID, attempt: int) -> QuerySet[Execution]:
    """The execution, if this process holds the lease of this attempt; otherwise no row."""
    return running().filter(pk=execution_id, attempt=attempt, lease_owner=owner())


def running() -> QuerySet[Execution]:
    """The executions with a lease."""
    return Execution.objects.filter(status=_RUNNING)
