"""Cursors: opaque positions in the history. New and deleted executions do not move them."""

import base64
import binascii
import struct
import uuid
import zlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from django.db.models import BooleanField, DateTimeField, F, Func, QuerySet, UUIDField, Value
from django.db.models.functions import Cast

from executions.models import Execution
from map_project.api.errors import BadRequest

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Microseconds since 1970, the ID, and a checksum of both, which refuses texts that are no cursors.
_FORMAT = struct.Struct(">q16sH")
_LENGTH = 36
_MAX_ID = 2**128 - 1
EXAMPLE = "AAZg2opTakABl6PCd6p_O7agUcOp0eAEKfc="


class _Row(Func):
    function = "ROW"


class _Comparison(Func):
    """Compares two rows. The ORM's `OR` of two conditions would read all rows with an equal time."""

    template = "%(expressions)s"
    output_field = BooleanField()


@dataclass(frozen=True, order=True, slots=True)
class Cursor:
    """The position of an execution in the order of the history.

    The conditions on `created_at` alone are redundant. PostgreSQL estimates the number of rows with them.
    """

    created_at: datetime
    id: uuid.UUID

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor for a text made by `str`. Raises BadRequest."""
        try:
            if len(text) != _LENGTH:
                raise ValueError
            data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
            microseconds, pk, checksum = _FORMAT.unpack(data)
            if checksum != _checksum(data[:-2]):
                raise ValueError
            return cls(_EPOCH + microseconds * _MICROSECOND, uuid.UUID(bytes=pk))
        except (ValueError, OverflowError, binascii.Error, struct.error):
            raise BadRequest("cursor must be the next_cursor of a response.") from None

    def __str__(self) -> str:
        microseconds = (self.created_at - _EPOCH) // _MICROSECOND
        data = struct.pack(">q16s", microseconds, self.id.bytes)
        data += struct.pack(">H", _checksum(data))
        return base64.urlsafe_b64encode(data).decode()

    @property
    def next(self) -> "Cursor":
        """Return the position after this one in time: this execution is older."""
        return Cursor(self.created_at, uuid.UUID(int=min(self.id.int + 1, _MAX_ID)))

    @property
    def previous(self) -> "Cursor":
        """Return the position before this one in time."""
        return Cursor(self.created_at, uuid.UUID(int=max(self.id.int - 1, 0)))

    def older(self, executions: QuerySet[Execution, Any]) -> QuerySet[Execution, Any]:
        """Return the executions before this one in time: those after it in the list."""
        return executions.filter(self._compared(" < "), created_at__lte=self.created_at)

    def newer(self, executions: QuerySet[Execution, Any]) -> QuerySet[Execution, Any]:
        """Return the executions after this one in time."""
        return executions.filter(self._compared(" > "), created_at__gte=self.created_at)

    def _compared(self, operator: str) -> _Comparison:
        time = Cast(Value(self.created_at), DateTimeField())
        own = _Row(time, Cast(Value(self.id), UUIDField()))
        return _Comparison(_Row(F("created_at"), F("id")), own, arg_joiner=operator)


def _checksum(data: bytes) -> int:
    return zlib.crc32(data) & 0xFFFF
