"""Tools in the admin. Changes go through the same services as in the API."""

from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.db.models import Field
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from map_project.tenants.admin import TenantOwnedAdmin
from tools import serializers, services
from tools.forms import SchemaField, indented
from tools.models import Tool

_OF_CALLABLE = ("configuration", "secret_names", "approval", "approval_timeout_seconds")


@admin.register(Tool)
class ToolAdmin(TenantOwnedAdmin):
    """A tool. Its tenant cannot change, because agents of the tenant may use it.

    Only the tenant can change the configuration, through the API: an operator who could change the URL
    could send the tenant's secrets to any host.
    """

    list_display = ("name", "tenant", "kind", "state", "description", "created_at", "updated_at")
    search_fields = ("name", "description")
    list_filter = (
        *TenantOwnedAdmin.list_filter,
        ("kind", ChoicesDropdownFilter),
        ("state", ChoicesDropdownFilter),
    )
    readonly_fields = (
        *("kind", "state", "schema", "configuration", "secret_names"),
        *TenantOwnedAdmin.readonly_fields,
    )

    def get_fields(self, request: HttpRequest, obj: Tool | None = None) -> tuple[str, ...]:
        texts = ("tenant", "name", "description")
        if obj is None:
            return texts
        schema = "parameters" if self.has_change_permission(request, obj) else "schema"
        config = _OF_CALLABLE if obj.config is not None else ()
        state = ("state",) if obj.kind == Tool.Kind.MCP else ()
        return (*texts, "kind", *state, schema, *config, *TenantOwnedAdmin.readonly_fields)

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name == "parameters":
            return SchemaField(help_text="JSON Schema of the tool's arguments.")
        if db_field.name == "approval_timeout_seconds":
            limits = serializers.APPROVAL_TIMEOUT_SECONDS
            options |= {"min_value": limits[0], "max_value": limits[1]}
        return super().formfield_for_dbfield(db_field, request, **options)

    def save_changes(self, obj: Any, fields: Mapping[str, Any]) -> None:
        services.update_tool(tool=obj, fields=fields)

    @admin.display(description="parameters")
    def schema(self, tool: Tool) -> SafeString:
        """The parameters, for users who cannot change the tool."""
        return _preformatted(tool.parameters)

    @admin.display(description="configuration")
    def configuration(self, tool: Tool) -> SafeString:
        """The HTTP request, or the tool of an MCP server, with the names of secrets and not their values."""
        return _preformatted(tool.config)


def _preformatted(value: Any) -> SafeString:
    return format_html('<pre class="desk-json">{}</pre>', indented(value))
