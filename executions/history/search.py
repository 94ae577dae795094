r"""Search in the texts and the metadata of executions.

A search goes back in time. It reads the executions in no block yet, and then those of the blocks that have
all of its words, so that it takes about the same time for a word of all executions, of a few and of none.
After `BUDGET_SECONDS` it stops: the page has what was found, and the next one continues there.
"""

import re
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import connection, transaction
from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.expressions import RawSQL
from rest_framework.request import Request

from executions.history.blocks import FIRST, Key, seed
from executions.history.cursors import Cursor
from executions.models import Execution
from map_project.api.errors import BadRequest

TEXT = "q"
METADATA = "metadata."
MAX_TEXT, MAX_WORDS = 200, 10
MAX_KEY, MAX_VALUE, MAX_PAIRS = 64, 512, 16
BUDGET_SECONDS = 0.25
# Of the executions that are in no block: the number that is read at once, at first and at most.
FIRST_CHUNK, MAX_CHUNK = 100, 1_000
# With other filters: if they leave at most this many executions, these are read, and no blocks.
FEW = 200
# Blocks that are read in the order of time, before the index of all blocks is searched.
NEAR_BLOCKS = 30
FAR_BLOCKS = 64
# The executions of this many blocks are read at once.
BATCH = 12

Executions = QuerySet[Execution, Any]

# Does not use the index of words, which has the blocks in no order: it finds frequent words at once.
_NEAR = """
SELECT last_created_at, last_id, is_stale OR words @> {words} FROM executions_searchblock
WHERE tenant_id = %(tenant_id)s AND (last_created_at, last_id) <= (%(at)s, %(id)s)
ORDER BY last_created_at DESC, last_id DESC LIMIT %(limit)s
"""
_FAR = """
SELECT last_created_at, last_id FROM executions_searchblock
WHERE tenant_id = %(tenant_id)s AND (last_created_at, last_id) < (%(at)s, %(id)s)
    AND words @> {words}
UNION
SELECT last_created_at, last_id FROM executions_searchblock
WHERE tenant_id = %(tenant_id)s AND (last_created_at, last_id) < (%(at)s, %(id)s) AND is_stale
ORDER BY 1 DESC, 2 DESC LIMIT %(limit)s
"""
# The ends of the blocks before those with the given ends.
_BEFORE = """
SELECT before.* FROM unnest(%(times)s::timestamptz[], %(ids)s::uuid[]) block (at, id)
LEFT JOIN LATERAL (
    SELECT last_created_at, last_id FROM executions_searchblock
    WHERE tenant_id = %(tenant_id)s AND (last_created_at, last_id) < (block.at, block.id)
    ORDER BY last_created_at DESC, last_id DESC LIMIT 1
) before ON true
ORDER BY block.at DESC, block.id DESC
"""
# Of a query for executions, and of the ranges in which it is executed, one after another.
_IN_RANGE = """
(executions_execution.created_at, executions_execution.id) > (ranges.after_at, ranges.after_id)
AND (executions_execution.created_at, executions_execution.id) <= (ranges.last_at, ranges.last_id)
AND executions_execution.created_at BETWEEN ranges.after_at AND ranges.last_at
"""
_IN_RANGES = """
SELECT found.* FROM unnest(%%s::timestamptz[], %%s::uuid[], %%s::timestamptz[], %%s::uuid[])
AS ranges (after_at, after_id, last_at, last_id), LATERAL (%s) found
"""
_ENDS = """
SELECT last_created_at, last_id FROM executions_searchblock
WHERE tenant_id = %(tenant_id)s AND (last_created_at, last_id) >= (%(at)s, %(id)s)
ORDER BY last_created_at, last_id LIMIT 1
"""
_NEWEST = """
SELECT last_created_at, last_id FROM executions_searchblock WHERE tenant_id = %(tenant_id)s
ORDER BY last_created_at DESC, last_id DESC LIMIT 1
"""

# Name, description and schema of each.
PARAMETERS: Sequence[tuple[str, str, Mapping[str, Any]]] = (
    (
        f"{METADATA}<key>",
        "Only runs whose metadata has this value for the key. Replace `<key>`.",
        {"type": "string", "maxLength": MAX_VALUE},
    ),
    (
        TEXT,
        "Only runs whose prompt and response have all of these words. Whole words, in any case and order.",
        {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
    ),
)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a search looks for: all of the words and of the metadata."""

    words: tuple[str, ...]
    metadata: Mapping[str, str]

    def condition(self) -> Q:
        """Return the condition of an execution. `\\m` and `\\M` are the beginning and the end of a word."""
        condition = Q(metadata__contains=self.metadata) if self.metadata else Q()
        for word in self.words:
            # Case-insensitive expressions do not know that the final sigma is a sigma.
            pattern = rf"\m{re.sub('[Σσς]', '[σς]', word)}\M"
            condition &= Q(prompt__iregex=pattern) | Q(response__iregex=pattern)
        return condition

    def array(self) -> tuple[str, dict[str, str]]:
        """Return an SQL expression, the words of a block that has them, and its parameters."""
        words = {f"word_{number}": word for number, word in enumerate(self.words)}
        pairs = {
            f"pair_{number}": f"{key}={value}"
            for number, (key, value) in enumerate(self.metadata.items())
        }
        texts = [f"lower(upper(%({name})s))" for name in words] + [f"%({name})s" for name in pairs]
        hashes = ", ".join(f"hashtextextended({text}, %(seed)s)" for text in texts)
        return f"ARRAY[{hashes}]::bigint[]", words | pairs


def terms(request: Request) -> Terms | None:
    """Return the terms of a request, or None if it has none. Raises BadRequest."""
    metadata = {
        name.removeprefix(METADATA): str(value)
        for name, value in request.query_params.items()
        if name.startswith(METADATA)
    }
    for key, value in metadata.items():
        if not 1 <= len(key) <= MAX_KEY or len(value) > MAX_VALUE:
            raise BadRequest(
                "metadata.<key> must have a key of 1 to 64 characters, and a value of at most 512."
            )
    if len(metadata) > MAX_PAIRS:
        raise BadRequest(f"metadata.<key>: at most {MAX_PAIRS} keys are allowed.")
    text = request.query_params.get(TEXT)
    words = () if text is None else _words(text)
    return Terms(words, metadata) if words or metadata else None


def _words(text: str) -> tuple[str, ...]:
    words = _split(text) if len(text) <= MAX_TEXT else ()
    if not 1 <= len(words) <= MAX_WORDS:
        raise BadRequest(f"q must have at most {MAX_TEXT} characters, and 1 to {MAX_WORDS} words.")
    return words


def _split(text: str) -> tuple[str, ...]:
    """Return the words as PostgreSQL finds them in executions. Python has other characters in words."""
    with connection.cursor() as cursor:
        cursor.execute(r"SELECT regexp_split_to_array(%s, '\W+')", [text])
        words: list[str] = cursor.fetchone()[0]
    return tuple(word for word in dict.fromkeys(words) if word)


class Search:
    """A search for the newest executions before a position.

    `executions` are those of the tenant that match other filters, in the default order.
    """

    def __init__(
        self, tenant_id: uuid.UUID, searched: Terms, executions: Executions, *, is_narrowed: bool
    ) -> None:
        self.tenant_id, self.terms = tenant_id, searched
        self.executions, self.is_narrowed = executions, is_narrowed

    def find(self, before: Cursor | None, count: int) -> tuple[list[Cursor], Cursor | None]:
        """Return up to `count` positions, and where the search stopped if its time was over."""
        self.count = count
        if before is not None:
            self.executions = before.older(self.executions)
        deadline, found = time.monotonic() + BUDGET_SECONDS, list[Cursor]()
        for positions, reached in self._parts(before):
            found += positions
            if len(found) >= count:
                return found[:count], None
            if time.monotonic() > deadline:
                return found, reached
        return found, None

    def _parts(self, before: Cursor | None) -> Iterator[tuple[list[Cursor], Cursor]]:
        """Yield what is found back in time, and the position up to which everything is found."""
        if self.is_narrowed:
            few = [*self.executions.values_list("pk", flat=True)[: FEW + 1]]
            if len(few) <= FEW:
                matching = self._matching(self.executions.filter(pk__in=few))
                yield [Cursor(*key) for key in matching], Cursor(*FIRST)
                return
        rows = self._select(_NEWEST)
        newest = Cursor(*rows[0]) if rows else None
        yield from self._in_no_block(newest)
        if newest:
            yield from self._in_blocks(before, newest)

    def _in_no_block(self, newest: Cursor | None) -> Iterator[tuple[list[Cursor], Cursor]]:
        executions = newest.newer(self.executions) if newest else self.executions
        is_match = ExpressionWrapper(self.terms.condition(), output_field=BooleanField())
        keys = executions.annotate(is_match=is_match).values_list("created_at", "pk", "is_match")
        rows, size = [*keys[:FIRST_CHUNK]], FIRST_CHUNK
        while rows:
            reached = Cursor(*rows[-1][:2])
            yield [Cursor(at, pk) for at, pk, matches in rows if matches], reached
            if len(rows) < size:
                return
            size = min(2 * size, MAX_CHUNK)
            rows = [*reached.older(keys)[:size]]

    def _in_blocks(
        self, before: Cursor | None, newest: Cursor
    ) -> Iterator[tuple[list[Cursor], Cursor]]:
        in_range = RawSQL(_IN_RANGE, (), output_field=BooleanField())  # noqa: S611  a constant
        found = self._matching(self.executions.filter(in_range))[: self.count]
        statement, parameters = found.query.sql_with_params()
        all_ranges = self._ranges(before, newest)
        while ranges := [*islice(all_ranges, BATCH)]:
            columns = [
                [*column]
                for each in zip(*ranges, strict=True)
                for column in zip(*each, strict=True)
            ]
            with connection.cursor() as cursor:
                cursor.execute(_IN_RANGES % statement, [*columns, *parameters])
                rows = cursor.fetchall()
            # The range has its end, but not its beginning.
            reached = Cursor(*ranges[-1][0]).next
            yield [Cursor(*key) for key in sorted(rows, reverse=True)], reached

    def _ranges(self, before: Cursor | None, newest: Cursor) -> Iterator[tuple[Key, Key]]:
        """Yield where the blocks begin and end that may have matching executions, the newest first.

        Blocks after `newest` were made meanwhile. Their executions have been read.
        """
        ends = self._select(_ENDS, before.previous) if before else []
        end = min([newest, *(Cursor(*each) for each in ends)])
        near = self._select(_NEAR, end, NEAR_BLOCKS + 1)
        for number, (at, pk, has_words) in enumerate(near[:NEAR_BLOCKS]):
            if has_words:
                yield near[number + 1][:2] if number + 1 < len(near) else FIRST, (at, pk)
        if len(near) > NEAR_BLOCKS:
            yield from self._far_ranges(near[NEAR_BLOCKS - 1][:2])

    def _far_ranges(self, end: Key) -> Iterator[tuple[Key, Key]]:
        far = [end]
        while far:
            with transaction.atomic(), connection.cursor() as cursor:
                # Other plans compare the words of all blocks. PostgreSQL does not know the cost of reading
                # them: they are stored apart from their rows.
                cursor.execute("SET LOCAL enable_seqscan = off")
                cursor.execute("SET LOCAL enable_indexscan = off")
                far = self._select(_FAR, Cursor(*far[-1]), FAR_BLOCKS)
            times, pks = [at for at, _ in far], [pk for _, pk in far]
            before = self._select(_BEFORE, times=times, ids=pks) if far else []
            for after, last in zip(before, far, strict=True):
                yield after if after[1] else FIRST, last
            if len(far) < FAR_BLOCKS:
                return

    def _matching(self, executions: Executions) -> Executions:
        return executions.filter(self.terms.condition()).values_list("created_at", "pk")

    def _select(
        self, statement: str, at: Cursor | None = None, limit: int = 0, **lists: Any
    ) -> list[Any]:
        array, words = self.terms.array()
        values: dict[str, Any] = {**words, **lists, "tenant_id": self.tenant_id, "limit": limit}
        values["seed"] = seed(self.tenant_id)
        if at is not None:
            values |= {"at": at.created_at, "id": at.id}
        with connection.cursor() as cursor:
            cursor.execute(statement.format(words=array), values)
            rows: list[Any] = cursor.fetchall()
        return rows
