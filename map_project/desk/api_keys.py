"""API keys in the admin: their list, and the pages that rotate and revoke them."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from unfold.contrib.filters.admin import AutocompleteSelectFilter

from map_project.desk.forms import RotateForm
from map_project.desk.new_keys import redirect_to_new_key, take_new_key
from map_project.desk.pages import (
    get_object,
    render_form,
    render_new_key,
    tenant_url,
)
from map_project.desk.stale_keys import UseFilter
from map_project.tenants.admin import ReadOnlyAdmin
from map_project.tenants.keys import (
    KeyNotValidError,
    creator_of,
    is_valid,
    revoke_key,
    rotate_key,
    scopes_of,
)
from map_project.tenants.models import ApiKey

_EXPIRES_SOON = timedelta(days=7)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """The keys of all tenants, without the key itself, which is not stored."""

    list_display = (
        "prefix",
        "tenant",
        "name",
        "state",
        "scope_list",
        "created",
        "last_used_at",
        "expires_at",
    )
    list_filter = (("tenant", AutocompleteSelectFilter), UseFilter)
    list_filter_submit = True
    list_select_related = ("tenant",)
    list_per_page = 50
    search_fields = ("prefix", "name", "tenant__name")
    ordering = ("-created_at", "-id")
    fields = (
        *("tenant", "name", "prefix", "scope_list", "creator", "created_at", "last_used_at"),
        *("expires_at", "revoked_at"),
    )
    readonly_fields = fields
    change_form_outer_after_template = "desk/key.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        urls = [
            path("<path:object_id>/revoke/", view(self.revoke_view), name="revoke_key"),
            path("<path:object_id>/rotate/", view(self.rotate_view), name="rotate_key"),
            path("<path:object_id>/new-key/", view(self.new_key_view), name="new_key"),
        ]
        return urls + super().get_urls()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], **options: Any
    ) -> HttpResponse:
        key = options["obj"]
        context |= {"key": key, "usable": is_valid(key, at=timezone.now())}
        return super().render_change_form(request, context, **options)

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation; revoke the key on POST."""
        key = get_object(self, request, object_id, "tenants.change_apikey")
        if request.method != "POST":
            text = (
                f"Requests that use {key.prefix}… will fail immediately. This cannot be undone. "
                f"{_last_use(key)}"
            )
            return render_form(
                self,
                request,
                key.tenant,
                None,
                title="Revoke this key?",
                button="Revoke",
                text=text,
            )
        revoke_key(key=key, user=request.user)
        messages.success(request, f"Key {key.prefix}… revoked. It stops working within one second.")
        return HttpResponseRedirect(tenant_url(key.tenant_id))

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask how long the old key stays valid; rotate the key and redirect to the new one on POST."""
        permissions = ("tenants.change_apikey", "tenants.add_apikey")
        key = get_object(self, request, object_id, *permissions)
        form = RotateForm(request.POST or None)
        if request.method != "POST" or not form.is_valid():
            return render_form(
                self,
                request,
                key.tenant,
                form,
                title=f"Rotate {key.prefix}…",
                button="Rotate",
                text=f"The new key is shown once. Both keys work until the old one expires. {_last_use(key)}",
            )
        grace = timedelta(seconds=form.cleaned_data["grace"])
        try:
            new_key, text = rotate_key(key=key, grace=grace, user=request.user)
        except KeyNotValidError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(tenant_url(key.tenant_id))
        return redirect_to_new_key(request, new_key, text)

    def new_key_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show a new key once, after it was issued or rotated in this session."""
        key = get_object(self, request, object_id, "tenants.add_apikey")
        text = take_new_key(request, key) if request.method == "GET" else None
        return render_new_key(self, request, key, text)

    @admin.display(description="scopes")
    def scope_list(self, key: ApiKey) -> str:
        return ", ".join(scopes_of(key))

    @admin.display(description="created", ordering="created_at")
    def created(self, key: ApiKey) -> str:
        time = date_format(key.created_at, "DATETIME_FORMAT")
        return format_html("{}<br>by {}", time, creator) if (creator := creator_of(key)) else time

    @admin.display(description="created by")
    def creator(self, key: ApiKey) -> str:
        return creator_of(key)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        tone, word = key_state(key, at=timezone.now())
        return format_html('<span class="desk-badge desk-{}">{}</span>', tone, word)


def _last_use(key: ApiKey) -> str:
    if key.last_used_at is None:
        return "The key has never been used."
    return f"The key was last used on {key.last_used_at:%d %b %Y at %H:%M} UTC."


def key_state(key: ApiKey, *, at: datetime) -> tuple[str, str]:
    """The color class and the name of the key's state at this time."""
    if key.revoked_at:
        return "plain", "revoked"
    if not is_valid(key, at=at):
        return "plain", "expired"
    if key.expires_at and key.expires_at < at + _EXPIRES_SOON:
        return "warn", "expires soon"
    return "good", "valid"
