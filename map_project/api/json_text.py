"""JSON that PostgreSQL has as text and a response contains as it is."""

from typing import Any

import orjson
from django.db import models


class JSONText(models.JSONField):
    """The output field of an expression. Its values are rendered without being parsed.

    The parameters of a hundred tools can contain a million JSON values.
    """

    def db_type(self, connection: Any) -> str:
        return "text"

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else orjson.Fragment(value)
