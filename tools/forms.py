"""Form fields of the admin."""

from typing import Any

import orjson
from django import forms
from unfold.widgets import UnfoldAdminTextareaWidget

from map_project.api.numbers import loads
from map_project.tenants.admin import validate_as_api
from tools import serializers


class SchemaField(forms.Field):
    """A JSON Schema. The order of its properties is preserved. If it is not required, a blank one is None."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 16, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> str:
        return value if isinstance(value, str) else "" if value is None else indented(value)

    def to_python(self, value: Any) -> Any:
        if not self.required and _is_blank(value):
            return None
        try:
            schema = loads(value or "")
        except orjson.JSONDecodeError as error:
            raise forms.ValidationError(f"Enter valid JSON: {error}.") from None
        return validate_as_api(serializers.SchemaField(), schema)

    def has_changed(self, initial: Any, data: Any) -> bool:
        if _is_blank(data):
            return initial is not None
        try:
            return orjson.dumps(initial) != orjson.dumps(orjson.loads(data))
        except orjson.JSONDecodeError:
            return True


def indented(value: Any) -> str:
    """Return a JSON value with line breaks."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _is_blank(text: str | None) -> bool:
    return not (text or "").strip()
