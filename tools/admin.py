"""Tools in the admin, written by the functions that the API calls."""

from collections.abc import Mapping
from typing import Any

import orjson
from django import forms
from django.contrib import admin
from django.db.models import Field
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldAdminTextareaWidget

from map_project.tenants.admin import TenantOwnedAdmin, by_api
from tools import services
from tools.models import Tool
from tools.serializers import ParametersField


class SchemaField(forms.Field):
    """A JSON Schema, its properties in the order in which they stand."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 16, "spellcheck": "false"})

    def prepare_value(self, value: Any) -> str:
        return value if isinstance(value, str) else _indented(value)

    def to_python(self, value: Any) -> Any:
        try:
            schema = orjson.loads(value or "")
        except orjson.JSONDecodeError as error:
            raise forms.ValidationError(f"This is not JSON: {error}.") from None
        return by_api(ParametersField(), schema)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return orjson.dumps(initial) != orjson.dumps(orjson.loads(data))
        except orjson.JSONDecodeError:
            return True


@admin.register(Tool)
class ToolAdmin(TenantOwnedAdmin):
    """A tool; it cannot move to another tenant, whose agents may not use it.

    How it is called is its tenant's to say, by the API: who says where a secret goes can read it.
    """

    list_display = ("name", "tenant", "kind", "description", "created_at", "updated_at")
    search_fields = ("name", "description")
    list_filter = (*TenantOwnedAdmin.list_filter, ("kind", ChoicesDropdownFilter))
    readonly_fields = (
        *("kind", "schema", "called_by", "secret_names"),
        *TenantOwnedAdmin.readonly_fields,
    )

    def get_fields(self, request: HttpRequest, obj: Tool | None = None) -> tuple[str, ...]:
        texts = ("tenant", "name", "description")
        if obj is None:
            return texts
        schema = "parameters" if self.has_change_permission(request, obj) else "schema"
        called = ("called_by", "secret_names") if obj.config is not None else ()
        return (*texts, "kind", schema, *called, *TenantOwnedAdmin.readonly_fields)

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name == "parameters":
            return SchemaField(help_text="The JSON Schema of its arguments, draft 2020-12.")
        return super().formfield_for_dbfield(db_field, request, **options)

    def write_changes(self, obj: Any, fields: Mapping[str, Any]) -> None:
        services.update_tool(tool=obj, fields=fields)

    @admin.display(description="parameters")
    def schema(self, tool: Tool) -> SafeString:
        """For whoever may only look."""
        return _shown(tool.parameters)

    @admin.display(description="HTTP")
    def called_by(self, tool: Tool) -> SafeString:
        """What its kind knows of the call; secrets stand there by their names."""
        return _shown(tool.config)


def _indented(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def _shown(value: Any) -> SafeString:
    return format_html('<pre class="desk-json">{}</pre>', _indented(value))
