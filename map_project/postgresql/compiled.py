"""Queries that the ORM defines once, and that are executed many times without building them again.

Django builds the SQL of a queryset anew at each request, which costs more than PostgreSQL takes to
answer it (a third of a run's CPU, see docs/performance.md). Here a queryset is built once, with a
sample in the place of each parameter; its text is kept, and executed with what a request brings.
The text never changes, so psycopg prepares it, and PostgreSQL plans it once a connection.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, cast

from django.db import connection
from django.db.models import Model, QuerySet
from django.db.models.sql import DeleteQuery, Query, UpdateQuery

Row = dict[str, Any]

# One of a kind, so that it is found again among the parameters of the built query.
_SAMPLES: Mapping[type, Callable[[], object]] = {
    uuid.UUID: uuid.uuid4,
    str: lambda: f"sample-{uuid.uuid4()}",
    int: lambda: 1_000_000_000 + uuid.uuid4().int % 1_000_000_000,
    datetime: lambda: datetime.fromtimestamp(uuid.uuid4().int % 10**9, UTC),
}


@dataclass(frozen=True, slots=True)
class _Text:
    """A query's text, and for each of its `%s` the name of a parameter or, wrapped, a constant."""

    sql: str
    slots: tuple[str | tuple[object], ...]

    @classmethod
    def of(cls, query: Query, samples: Mapping[str, object]) -> "_Text":
        sql, values = query.get_compiler(connection=connection).as_sql()
        names = {sample: name for name, sample in samples.items()}
        if missing := names.keys() - set(values):
            raise ValueError(f"not in the query: {sorted(names[sample] for sample in missing)}")
        return cls(sql, tuple(names.get(value, (value,)) for value in values))

    def filled(self, parameters: Mapping[str, object]) -> list[object]:
        return [parameters[slot] if isinstance(slot, str) else slot[0] for slot in self.slots]


def _samples(parameters: Mapping[str, type]) -> dict[str, object]:
    return {name: _SAMPLES[kind]() for name, kind in parameters.items()}


class Compiled:
    """A queryset of `values()` that is built once; called with its parameters, it gives `Rows`.

    `build` makes the queryset of its keyword arguments; `parameters` says their types (UUID, str,
    int or datetime). Whatever else it holds becomes part of the text. `presented` makes of a row
    what is wanted of it; PostgreSQL's JSON comes to it as text.
    """

    def __init__(
        self,
        build: Callable[..., QuerySet[Any, Any]],
        presented: Callable[[Row], Row] | None = None,
        **parameters: type,
    ) -> None:
        self._build = build
        self._parameters = parameters
        self.presented = presented

    def __call__(self, **parameters: object) -> "Rows":
        return Rows(self, parameters)

    @cached_property
    def ordered(self) -> _Text:
        """The query as it was built."""
        return self._text(lambda queryset: queryset)

    @cached_property
    def unordered(self) -> _Text:
        """The query without its order, to count by."""
        return self._text(lambda queryset: queryset.order_by())

    def _text(self, change: Callable[[QuerySet[Any, Any]], QuerySet[Any, Any]]) -> _Text:
        samples = _samples(self._parameters)
        return _Text.of(change(self._build(**samples)).query, samples)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a compiled query: counted, sliced and iterated like those of a queryset.

    A row is a dictionary. Each of the methods is one statement, and raises django.db.DatabaseError.
    """

    query: Compiled
    parameters: Mapping[str, object]

    def __iter__(self) -> Iterator[Row]:
        text = self.query.ordered
        return iter(self._presented(dictionaries(text.sql, text.filled(self.parameters))))

    def __getitem__(self, part: slice) -> list[Row]:
        text = self.query.ordered
        values = [*text.filled(self.parameters), part.stop - part.start, part.start]
        return self._presented(dictionaries(f"{text.sql} LIMIT %s OFFSET %s", values))

    def first(self) -> Row | None:
        """The first row, of a query that has few."""
        return next(iter(self), None)

    def count(self) -> int:
        """How many rows there are."""
        text = self.query.unordered
        sql = f"SELECT COUNT(*) AS total FROM ({text.sql}) counted"  # noqa: S608  the ORM's text
        return int(dictionaries(sql, text.filled(self.parameters))[0]["total"])

    def _presented(self, rows: list[Row]) -> list[Row]:
        presented = self.query.presented
        return rows if presented is None else [presented(row) for row in rows]


# What each text's columns are called: psycopg makes objects of them anew at each question.
_columns: dict[str, list[str]] = {}


def dictionaries(sql: str, values: Sequence[object]) -> list[Row]:
    """The rows of one statement, whose text is one of a few."""
    with connection.cursor() as cursor:
        cursor.execute(sql, cast(Any, values))
        names = _columns.get(sql)
        if names is None:
            names = _columns[sql] = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


class CompiledCreate:
    """`objects.create()` whose text is built once: of these fields of a model, and what the database
    puts into the others. Called with their values it gives the row, of the fields named in `returning`,
    as `presented` makes it; it raises django.db.DatabaseError.
    """

    def __init__(
        self,
        model: type[Model],
        fields: Sequence[str],
        *,
        returning: Sequence[str],
        presented: Callable[[Row], Row] = dict,
    ) -> None:
        self._model = model
        self._names = fields
        self._returning = returning
        self._presented = presented

    def __call__(self, **values: object) -> Row:
        sql, fields = self._built
        given = [field.get_db_prep_save(values[field.attname], connection) for field in fields]
        return self._presented(dictionaries(sql, given)[0])

    @cached_property
    def _built(self) -> tuple[str, Sequence[Any]]:
        places = ", ".join(["%s"] * len(self._names))
        sql = f"{_into(self._model, self._names)} VALUES ({places}) {_back(self._model, self._returning)}"
        return sql, [self._model._meta.get_field(name) for name in self._names]


class CompiledWrite:
    """An UPDATE or a DELETE whose text is built once. Called with its parameters it gives the row that
    it wrote or removed, of the fields named in `returning`, as `presented` makes it; None where there
    was none. It raises django.db.DatabaseError.

    `build` makes of its keyword arguments what `updating` or `deleting` give.
    """

    def __init__(
        self,
        build: Callable[..., Query],
        *,
        returning: Sequence[str],
        presented: Callable[[Row], Row] = dict,
        **parameters: type,
    ) -> None:
        self._build = build
        self._returning = returning
        self._presented = presented
        self._parameters = parameters

    def __call__(self, **parameters: object) -> Row | None:
        rows = dictionaries(self._text.sql, self._text.filled(parameters))
        return self._presented(rows[0]) if rows else None

    @cached_property
    def _text(self) -> _Text:
        samples = _samples(self._parameters)
        query = self._build(**samples)
        text = _Text.of(query, samples)
        return _Text(
            f"{text.sql} {_back(cast(type[Model], query.model), self._returning)}", text.slots
        )


def updating(rows: QuerySet[Any, Any], **values: object) -> Query:
    """What `rows.update(**values)` would execute."""
    query: Any = rows.query.chain(UpdateQuery)
    query.add_update_values(values)
    return cast(Query, query)


def deleting(rows: QuerySet[Any, Any]) -> Query:
    """What deletes the rows, where the database alone knows what depends on them."""
    return rows.query.chain(DeleteQuery)


class CompiledInsert:
    """`INSERT INTO … SELECT …`, which the ORM lacks: the rows of a compiled query become rows of a
    model, and `returning` comes back of each.

    `fields` are the model's, in the order in which the query's `values_list()` names their values.
    Called with its parameters, it is one statement; it raises django.db.DatabaseError.
    """

    def __init__(
        self,
        model: type[Model],
        fields: Sequence[str],
        rows: Compiled,
        *,
        returning: Sequence[str],
    ) -> None:
        self._model = model
        self._fields = fields
        self._rows = rows
        self._returning = returning

    def __call__(self, **parameters: object) -> list[Row]:
        return dictionaries(self._sql, self._rows.ordered.filled(parameters))

    @cached_property
    def _sql(self) -> str:
        into, back = _into(self._model, self._fields), _back(self._model, self._returning)
        return f"{into} {self._rows.ordered.sql} {back}"


def _into(model: type[Model], fields: Sequence[str]) -> str:
    table = connection.ops.quote_name(model._meta.db_table)
    return f"INSERT INTO {table} ({_list(model, fields)})"


def _back(model: type[Model], fields: Sequence[str]) -> str:
    return f"RETURNING {_list(model, fields)}"


def _list(model: type[Model], fields: Sequence[str]) -> str:
    columns = (cast(Any, model._meta.get_field(name)).column for name in fields)
    return ", ".join(map(connection.ops.quote_name, columns))
