"""The database connection while a request waits for something else."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection
from django.db.transaction import TransactionManagementError


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
