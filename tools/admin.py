"""Tools in the admin."""

from django.contrib import admin

from tools.models import Tool


@admin.register(Tool)
class ToolAdmin(admin.ModelAdmin[Tool]):
    """A tool; it cannot move to another tenant, whose agents may not use it."""

    list_display = ("name", "tenant", "created_at", "updated_at")
    list_filter = ("tenant",)
    list_select_related = ("tenant",)
    search_fields = ("name", "description")
    readonly_fields = ("id", "created_at", "updated_at")

    def get_readonly_fields(self, request: object, obj: Tool | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "tenant") if obj else self.readonly_fields
