"""The export of the history: executions as lines of JSON (NDJSON), the oldest first.

The rows are read in batches, while the client reads the response. Between the batches, the response holds no
database connection and no transaction.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from functools import partial
from itertools import accumulate
from typing import Any

from django.db import connection
from django.db.models import BooleanField, ExpressionWrapper, Prefetch, Q, QuerySet
from django.db.models.functions import Now
from django.http import StreamingHttpResponse

from executions.history.cursors import Cursor
from executions.history.search import Terms
from executions.models import Execution, Step
from executions.serializers import ExportedExecutionSerializer
from map_project.api.renderers import OrjsonRenderer
from map_project.postgresql.connections import with_retries
from map_project.postgresql.queries import custom_plans

CONTENT_TYPE = "application/x-ndjson"
# An insert that began before has been committed or cancelled.
CLOSED_AFTER = timedelta(seconds=10)
# Executions that are compared with the terms of a search at once.
MAX_KEYS = 500
# Of one batch: executions, and the bytes of their texts, unless the first one alone has more.
MAX_ROWS, MAX_BYTES = 50, 2 * 1024**2
# Between the attempts to read while the database is not available.
OUTAGE_DELAYS_SECONDS = (1.0,) * 30

Executions = QuerySet[Execution, Any]

_SIZES = """
SELECT execution.id, octet_length(prompt) + octet_length(response) + octet_length(system_prompt)
    + COALESCE(steps.bytes, 0)
FROM executions_execution execution LEFT JOIN LATERAL (
    SELECT sum(octet_length(input) + octet_length(output)) AS bytes
    FROM executions_step WHERE execution_id = execution.id
) steps ON true
WHERE execution.id = ANY(%s)
"""


def exported(executions: Executions) -> Executions:
    """Return those of the executions that are exported.

    They have ended. No execution can still be stored with a time before theirs.
    """
    ended = executions.exclude(status__in=Execution.UNFINISHED)
    return ended.filter(created_at__lt=Now() - CLOSED_AFTER).order_by("created_at", "pk")


def export(
    executions: Executions, terms: Terms | None, after: Cursor | None, closing: ExitStack
) -> StreamingHttpResponse:
    """Return the response. `closing` is closed at its end."""
    lines = Lines(exported(executions), terms.condition() if terms else None, after, closing)
    return StreamingHttpResponse(
        lines, headers={"Content-Type": CONTENT_TYPE, "X-Accel-Buffering": "no"}
    )


class Lines:
    """The content of the response. `close` is called at its end, also if it was never read.

    If the database is not available for long, it raises DatabaseError: the response is not completed, which
    clients report as an error.
    """

    def __init__(
        self, executions: Executions, condition: Q | None, after: Cursor | None, closing: ExitStack
    ) -> None:
        self._executions, self._condition = executions, condition
        self._after, self._closing = after, closing

    def __iter__(self) -> Iterator[bytes]:
        position = self._after
        while True:
            keys, is_last = self._read(partial(self._keys, position))
            found = [Cursor(at, pk) for at, pk, matches in keys if matches]
            while found:
                count, text = self._read(partial(_batch, found[:MAX_ROWS]))
                yield text
                found = found[count:]
            if is_last:
                return
            position = Cursor(*keys[-1][:2])

    def close(self) -> None:
        self._closing.close()

    def _read(self, function: Any) -> Any:
        try:
            return with_retries(function, OUTAGE_DELAYS_SECONDS)
        finally:
            connection.close()

    def _keys(self, position: Cursor | None) -> tuple[list[Any], bool]:
        """Return the next positions, whether each matches the terms, and whether they are the last ones."""
        executions = position.newer(self._executions) if position else self._executions
        condition = Q(pk__isnull=False) if self._condition is None else self._condition
        is_match = ExpressionWrapper(condition, output_field=BooleanField())
        keys = executions.annotate(is_match=is_match).values_list("created_at", "pk", "is_match")
        with custom_plans():
            rows = [*keys[:MAX_KEYS]]
        return rows, len(rows) < MAX_KEYS


def _batch(keys: list[Cursor]) -> tuple[int, bytes]:
    """Return how many of the executions fit into a batch, and their lines."""
    with connection.cursor() as cursor:
        cursor.execute(_SIZES, [[key.id for key in keys]])
        sizes = dict(cursor.fetchall())
    totals = accumulate(sizes.get(key.id, 0) for key in keys)
    count = max(sum(total <= MAX_BYTES for total in totals), 1)
    steps = Step.objects.order_by("execution", "position")
    rows = Execution.objects.filter(pk__in=[key.id for key in keys[:count]])
    ordered = rows.order_by("created_at", "pk").prefetch_related(Prefetch("steps", steps))
    return count, b"".join(map(_line, ordered))


def _line(execution: Execution) -> bytes:
    return OrjsonRenderer().render(ExportedExecutionSerializer(execution).data) + b"\n"
