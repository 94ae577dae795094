"""API keys in the admin: their list, and the pages that issue, rotate and revoke them."""

from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from unfold.admin import ModelAdmin

from map_project.desk.forms import IssueForm, RotateForm
from map_project.desk.pages import (
    get_object_or_404,
    log_action,
    render_form,
    render_new_key,
    tenant_url,
)
from map_project.tenants.admin import ReadOnlyAdmin
from map_project.tenants.keys import is_valid, issue_key, revoke_key, rotate_key
from map_project.tenants.models import ApiKey, Tenant

_EXPIRES_SOON = timedelta(days=7)


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnlyAdmin):
    """The keys of all tenants, without the key itself, which is not stored."""

    list_display = (
        "prefix",
        "tenant",
        "name",
        "state",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_select_related = ("tenant",)
    list_per_page = 50
    search_fields = ("prefix", "name", "tenant__name")
    ordering = ("-created_at", "-id")
    exclude = ("key_hash",)
    change_form_outer_after_template = "desk/key.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        urls = [
            path("<path:object_id>/revoke/", view(self.revoke_view), name="revoke_key"),
            path("<path:object_id>/rotate/", view(self.rotate_view), name="rotate_key"),
        ]
        return urls + super().get_urls()

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        key = self.get_object(request, unquote(object_id))
        extra = {
            "key": key,
            "usable": key and is_valid(key, at=timezone.now()),
            **(extra_context or {}),
        }
        return super().change_view(request, object_id, form_url, extra)

    def revoke_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation; revoke the key on POST."""
        key = _get_changeable_key(self, request, object_id)
        if request.method != "POST":
            text = (
                f"Requests that use {key.prefix}… will fail immediately. This cannot be undone. "
                f"The key was last used: {_last_used(key)}."
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
        revoke_key(key=key)
        log_action(request, key, "Revoked.")
        log_action(request, key.tenant, f"Revoked the API key {key.prefix}.")
        messages.success(request, f"Key {key.prefix}… revoked. It stops working within one second.")
        return HttpResponseRedirect(tenant_url(key.tenant_id))

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask how long the old key stays valid; show the new key on POST."""
        key = _get_changeable_key(self, request, object_id)
        if not request.user.has_perm("tenants.add_apikey"):
            raise PermissionDenied
        form = RotateForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            return self._rotate(request, key, timedelta(seconds=form.cleaned_data["grace"]))
        return render_form(
            self,
            request,
            key.tenant,
            form,
            title=f"Rotate {key.prefix}…",
            button="Rotate",
            text="The new key is shown once. Both keys work until the old one expires.",
        )

    def _rotate(self, request: HttpRequest, key: ApiKey, grace: timedelta) -> HttpResponse:
        try:
            new_key, text = rotate_key(key=key, grace=grace)
        except ValueError as error:
            messages.error(request, str(error))
            return HttpResponseRedirect(tenant_url(key.tenant_id))
        log_action(
            request, key.tenant, f"Rotated the API key {key.prefix}. New key: {new_key.prefix}."
        )
        log_action(request, key, f"Rotated. New key: {new_key.prefix}.")
        log_action(request, new_key, f"Issued to replace {key.prefix}.", flag=ADDITION)
        return render_new_key(self, request, new_key, text)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        return format_html('<span class="desk-badge desk-{}">{}</span>', *key_state(key))


def issue_key_view(model_admin: ModelAdmin, request: HttpRequest, tenant: Tenant) -> HttpResponse:
    """Show the form for a new key; issue and show the key on POST."""
    if not request.user.has_perm("tenants.add_apikey"):
        raise PermissionDenied
    form = IssueForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        name, expires_in = form.cleaned_data["name"], form.expires_in()
        key, text = issue_key(tenant=tenant, name=name, expires_in=expires_in)
        log_action(request, tenant, f"Issued the API key {key.prefix}.")
        log_action(request, key, "Issued.", flag=ADDITION)
        return render_new_key(model_admin, request, key, text)
    return render_form(model_admin, request, tenant, form, title="Issue a key", button="Issue key")


def key_state(key: ApiKey, *, at: datetime | None = None) -> tuple[str, str]:
    """The color class and the name of the key's state."""
    now = at or timezone.now()
    if key.revoked_at:
        return "plain", "revoked"
    if not is_valid(key, at=now):
        return "plain", "expired"
    if key.expires_at and key.expires_at < now + _EXPIRES_SOON:
        return "warn", "expires soon"
    return "good", "valid"


def _get_changeable_key(model_admin: ModelAdmin, request: HttpRequest, object_id: str) -> ApiKey:
    key: ApiKey = get_object_or_404(model_admin, request, object_id)
    if not request.user.has_perm("tenants.change_apikey"):
        raise PermissionDenied
    return key


def _last_used(key: ApiKey) -> str:
    return f"{key.last_used_at:%d %b %Y %H:%M} UTC" if key.last_used_at else "never"
