"""Tenants and keys in the admin: deactivated and revoked there, never deleted."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from map_project.tenants.models import ApiKey, Tenant


class Undeletable(admin.ModelAdmin[Any]):
    """Rows of which a record must remain."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnly(Undeletable):
    """Rows that nobody writes by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Tenant)
class TenantAdmin(Undeletable):
    """A tenant: its name, whether it is active, its quota."""

    list_display = ("name", "id", "is_active", "rate_limit_requests", "rate_limit_window_seconds")
    list_filter = ("is_active",)
    search_fields = ("name",)
    readonly_fields = ("id", "created_at")


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly):
    """Keys are issued and revoked by the commands; here they are seen."""

    list_display = (
        "prefix",
        "tenant",
        "name",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_filter = ("tenant",)
    list_select_related = ("tenant",)
    search_fields = ("prefix", "name")
    exclude = ("key_hash",)
