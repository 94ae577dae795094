"""Tools in the admin."""

from django.contrib import admin

from map_project.tenants.admin import TenantOwnedAdmin
from tools.models import Tool


@admin.register(Tool)
class ToolAdmin(TenantOwnedAdmin):
    """A tool; it cannot move to another tenant, whose agents may not use it."""

    list_display = ("name", "tenant", "description", "created_at", "updated_at")
    search_fields = ("name", "description")
    fields = ("tenant", "name", "description", "id", "created_at", "updated_at")
