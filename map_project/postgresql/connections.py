"""The database connection while a request waits for something else."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from django.db import InterfaceError, OperationalError, connection
from django.db.transaction import TransactionManagementError

Result = TypeVar("Result")


@contextmanager
def released_connection() -> Iterator[None]:
    """Return the connection to the pool for as long as a model or a tool is awaited.

    The next query takes a connection again. Raises TransactionManagementError inside a transaction,
    which would be lost.
    """
    if connection.in_atomic_block:
        raise TransactionManagementError(
            "A database connection cannot be released inside a transaction."
        )
    connection.close()
    yield


def with_retries(function: Callable[[], Result], delays_seconds: Sequence[float]) -> Result:
    """Return the result of a function that writes, and repeat it while the database is not available.

    The function must be repeatable: an attempt may have been committed although its response was lost.
    Raises DatabaseError.
    """
    for delay_seconds in delays_seconds:
        try:
            return function()
        except (OperationalError, InterfaceError):
            connection.close()
            time.sleep(delay_seconds)
    return function()
