"""Tools in the admin."""

from django.contrib import admin
from django.http import HttpRequest
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from map_project.tenants.admin import TenantOwnedAdmin
from tools.models import Tool


@admin.register(Tool)
class ToolAdmin(TenantOwnedAdmin):
    """A tool; it cannot move to another tenant, whose agents may not use it."""

    list_display = ("name", "tenant", "kind", "description", "created_at", "updated_at")
    search_fields = ("name", "description")
    list_filter = (*TenantOwnedAdmin.list_filter, ("kind", ChoicesDropdownFilter))
    # How it is called is its tenant's to say, by the API; its secrets nobody reads.
    readonly_fields = (
        *("kind", "parameters", "config", "secret_names"),
        *TenantOwnedAdmin.readonly_fields,
    )

    def get_fields(self, request: HttpRequest, obj: Tool | None = None) -> tuple[str, ...]:
        texts = ("tenant", "name", "description")
        return (*texts, *self.readonly_fields) if obj else texts
