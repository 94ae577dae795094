"""Webhooks in the admin. Tenants manage them through the API; operators can deactivate one."""

from django.contrib import admin
from django.http import HttpRequest
from unfold.contrib.filters.admin import AutocompleteSelectFilter, ChoicesDropdownFilter

from map_project.tenants.admin import ReadOnlyAdmin, UndeletableAdmin
from map_project.webhooks.models import WebhookDelivery, WebhookEndpoint


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(UndeletableAdmin):
    """The endpoints. Only the tenant can change the URL."""

    list_display = ("url", "tenant", "is_active", "failing_since", "created_at")
    list_filter = (("tenant", AutocompleteSelectFilter), "is_active")
    list_select_related = ("tenant",)
    list_filter_submit = True
    list_per_page = 50
    show_full_result_count = False
    fields = (
        *("tenant", "url", "event_types", "is_active", "disabled_reason", "failing_since"),
        *("created_at", "updated_at"),
    )
    readonly_fields = tuple(name for name in fields if name != "is_active")

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(ReadOnlyAdmin):
    """The deliveries, the newest first."""

    list_display = (
        *("created_at", "event_type", "tenant", "endpoint", "status", "attempts"),
        *("response_status", "error"),
    )
    list_filter = (("tenant", AutocompleteSelectFilter), ("status", ChoicesDropdownFilter))
    list_select_related = ("tenant", "endpoint")
    list_filter_submit = True
    list_per_page = 50
    show_full_result_count = False
