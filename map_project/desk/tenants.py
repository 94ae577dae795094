"""The tenant's page, which gathers from everywhere, and what is done to keys there."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import ADDITION, CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html

from agents.language_models import check_allow_list
from agents.models import Agent
from map_project.desk import metrics, quotas
from map_project.desk.dashboard import history_url, in_time, runs_chart, spelled
from map_project.desk.forms import IssueForm, RotateForm
from map_project.desk.metrics import DAY
from map_project.tenants.admin import ApiKeyAdmin, TenantAdmin
from map_project.tenants.keys import is_valid, issue_key, revoke_key, rotate_key
from map_project.tenants.models import ApiKey, Tenant
from ratelimit.limiter import LimiterUnavailable, default_limiter
from tools.models import Tool

KEYS_SHOWN = 100

admin.site.unregister(Tenant)
admin.site.unregister(ApiKey)


class TenantForm(forms.ModelForm[Tenant]):
    """A tenant; its allow-list names models that there are."""

    def clean_allowed_models(self) -> Any:
        names = self.cleaned_data["allowed_models"]
        check_allow_list(names, self.instance.allowed_models)
        return names


@admin.register(Tenant)
class TenantPage(TenantAdmin):
    """A tenant with its numbers, its quota right now, its keys, and links to all that is its own."""

    form = TenantForm
    list_display = ("name", "state", "use", "runs_of_day", "quota", "created_at")
    readonly_fields = ("id", "created_at")
    fieldsets = (
        (
            "Settings",
            {
                "fields": (
                    "name",
                    "is_active",
                    ("rate_limit_requests", "rate_limit_window_seconds"),
                    "allowed_models",
                    ("id", "created_at"),
                )
            },
        ),
    )
    change_form_outer_before_template = "desk/tenant.html"

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "<path:object_id>/issue-key/", self._guarded(self.issue_key_view), name="issue_key"
            ),
            path(
                "<path:object_id>/reset-window/",
                self._guarded(self.reset_window_view),
                name="reset_window",
            ),
        ]
        return own + super().get_urls()

    def _guarded(self, view: Any) -> Any:
        return self.admin_site.admin_view(view)

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        tenant = self.get_object(request, unquote(object_id))
        extra = {**(extra_context or {}), **(overview(request, tenant) if tenant else {})}
        return super().change_view(request, object_id, form_url, extra)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if changelist := getattr(response, "context_data", {}).get("cl"):
            _annotate(changelist.result_list)
        return response

    def issue_key_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A form; then the key, this once."""
        tenant = _found(self, request, object_id)
        if not request.user.has_perm("tenants.add_apikey"):
            raise PermissionDenied
        form = IssueForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            name, expires_in = form.cleaned_data["name"], form.expires_in()
            key, text = issue_key(tenant=tenant, name=name, expires_in=expires_in)
            log(request, tenant, f"Issued the API key {key.prefix}.")
            log(request, key, "Issued.", flag=ADDITION)
            return show_key(self, request, key, text)
        return ask(self, request, tenant, form, title="Issue a key", button="Issue key")

    def reset_window_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Frees all units of the tenant's quota."""
        tenant = _found(self, request, object_id)
        if not self.has_change_permission(request, tenant) or request.method != "POST":
            raise PermissionDenied
        try:
            default_limiter().reset(tenant.pk, quotas.quota(tenant).window_seconds)
        except LimiterUnavailable:
            messages.error(request, "Redis does not answer; the window was not reset.")
        else:
            log(request, tenant, "Reset the rate limit's window.")
            messages.success(request, f"The window of {tenant} is empty again.")
        return HttpResponseRedirect(tenant_url(tenant.pk))

    @admin.display(description="state", ordering="is_active")
    def state(self, tenant: Tenant) -> str:
        """Active or not."""
        tone, word = ("good", "active") if tenant.is_active else ("plain", "inactive")
        return format_html('<span class="desk-badge desk-{}">{}</span>', tone, word)

    @admin.display(description="quota in use now")
    def use(self, tenant: Any) -> str:
        """Live, as a bar."""
        if tenant.use is None:
            return "Redis does not answer"
        return format_html(
            '<span class="desk-meter" title="{} of {}"><i class="desk-{}" style="width:{}%"></i></span> '
            '<span class="desk-faint desk-nowrap">{} of {}</span>',
            *(tenant.use.usage.used, tenant.use.usage.limit, tenant.use.tone, tenant.use.bar),
            *(tenant.use.usage.used, tenant.use.usage.limit),
        )

    @admin.display(description="runs in 24 h")
    def runs_of_day(self, tenant: Any) -> str:
        """From the index of times."""
        return "-" if tenant.runs is None else f"{tenant.runs:,}"

    @admin.display(description="quota")
    def quota(self, tenant: Tenant) -> str:
        """In words; the setting's in grey."""
        own = tenant.rate_limit_requests or tenant.rate_limit_window_seconds
        found = quotas.quota(tenant)
        return format_html(
            '<span class="desk-nowrap {}">{} in {} s</span>',
            "" if own else "desk-faint",
            f"{found.limit:,}",
            found.window_seconds,
        )


@admin.register(ApiKey)
class KeyPage(ApiKeyAdmin):
    """Keys of all tenants; revoked and rotated from here and from the tenant's page."""

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
    change_form_outer_after_template = "desk/key.html"

    def get_urls(self) -> list[URLPattern]:
        guarded = self.admin_site.admin_view
        own = [
            path("<path:object_id>/revoke/", guarded(self.revoke_view), name="revoke_key"),
            path("<path:object_id>/rotate/", guarded(self.rotate_view), name="rotate_key"),
        ]
        return own + super().get_urls()

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
        """A question; then the key is ended."""
        key = _changeable_key(self, request, object_id)
        if request.method == "POST":
            revoke_key(key=key)
            log(request, key, "Revoked.")
            log(request, key.tenant, f"Revoked the API key {key.prefix}.")
            messages.success(
                request, f"The key {key.prefix} is revoked; it is refused within a second."
            )
            return HttpResponseRedirect(tenant_url(key.tenant_id))
        text = f"Whoever uses {key.prefix} is refused from then on. A revoked key never comes back."
        return ask(self, request, key, None, title="Revoke this key?", button="Revoke", text=text)

    def rotate_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """A form; then the new key, this once."""
        key = _changeable_key(self, request, object_id)
        if not request.user.has_perm("tenants.add_apikey"):
            raise PermissionDenied
        form = RotateForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                made, text = rotate_key(
                    key=key, grace=timedelta(seconds=form.cleaned_data["grace"])
                )
            except ValueError as error:
                messages.error(request, str(error))
                return HttpResponseRedirect(tenant_url(key.tenant_id))
            log(
                request,
                key.tenant,
                f"Rotated the API key {key.prefix}: the new one is {made.prefix}.",
            )
            log(request, key, f"Rotated; the new key is {made.prefix}.")
            log(request, made, f"Issued in the place of {key.prefix}.", flag=ADDITION)
            return show_key(self, request, made, text)
        text = "The new key is shown once. Until the old one ends, both are valid."
        title = f"Rotate {key.prefix}"
        return ask(self, request, key, form, title=title, button="Rotate", text=text)

    @admin.display(description="state")
    def state(self, key: ApiKey) -> str:
        """Valid, revoked or expired."""
        tone, word = key_state(key)
        return format_html('<span class="desk-badge desk-{}">{}</span>', tone, word)


def overview(request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
    """What stands above the tenant's form."""
    now = timezone.now()
    counted = in_time(lambda: metrics.counts(DAY, now, tenant_id=tenant.pk))
    latency = in_time(lambda: metrics.latencies(now, tenant_id=tenant.pk))
    uses = quotas.uses([tenant])
    keys = tenant.api_keys.order_by("revoked_at", "-created_at")[:KEYS_SHOWN]
    of_tenant = f"?tenant__id__exact={tenant.pk}"
    return {
        "tenant": tenant,
        "counts": counted,
        "charts": {"runs": runs_chart(counted, DAY, now)} if counted else {},
        "latency": spelled(latency[1]) if latency else None,
        "use": uses[tenant.pk] if uses else None,
        "quota": quotas.quota(tenant),
        "keys": [(key, *key_state(key), is_valid(key, at=now)) for key in keys],
        "may_issue": request.user.has_perm("tenants.add_apikey"),
        "may_change_keys": request.user.has_perm("tenants.change_apikey"),
        "may_reset": request.user.has_perm("tenants.change_tenant"),
        "links": [
            ("Agents", Agent.objects.filter(tenant=tenant).count(), "smart_toy",
             reverse("admin:agents_agent_changelist") + of_tenant),
            ("Tools", Tool.objects.filter(tenant=tenant).count(), "build",
             reverse("admin:tools_tool_changelist") + of_tenant),
            ("Runs", None, "history", history_url(tenant__id__exact=tenant.pk)),
        ],
    }  # fmt: skip


def key_state(key: ApiKey) -> tuple[str, str]:
    """How a key's state is coloured, and the word for it."""
    now = timezone.now()
    if key.revoked_at:
        return "plain", "revoked"
    if not is_valid(key, at=now):
        return "plain", "expired"
    if key.expires_at and key.expires_at < now + timedelta(days=7):
        return "warn", "expires soon"
    return "good", "valid"


def ask(  # a page with a question on it
    page: Any,
    request: HttpRequest,
    about: Tenant | ApiKey,
    form: forms.Form | None,
    **texts: str,
) -> HttpResponse:
    """A form, or a question without one; its answer is a POST to the same address."""
    tenant = about.tenant if isinstance(about, ApiKey) else about
    context = {
        **page.admin_site.each_context(request),
        **texts,
        "opts": page.opts,
        "form": form,
        "tenant": tenant,
        "back": tenant_url(tenant.pk),
        "danger": form is None,
    }
    return TemplateResponse(request, "desk/ask.html", context)


def show_key(page: Any, request: HttpRequest, key: ApiKey, text: str) -> HttpResponse:
    """The key, which nobody can read again; like every page of the admin it is `no-store`."""
    context = {
        **page.admin_site.each_context(request),
        "title": "The new key",
        "opts": page.opts,
        "key": key,
        "text": text,
        "back": tenant_url(key.tenant_id),
    }
    return TemplateResponse(request, "desk/new_key.html", context)


def log(request: HttpRequest, changed: Tenant | ApiKey, text: str, *, flag: int = CHANGE) -> None:
    """Django's admin log of what no form of Django's did."""
    assert request.user.pk is not None  # noqa: S101  the site let nobody else come here
    LogEntry.objects.log_actions(
        request.user.pk, [changed], flag, change_message=text, single_object=True
    )


def tenant_url(tenant_id: uuid.UUID) -> str:
    """The tenant's page."""
    return reverse("admin:tenants_tenant_change", args=(tenant_id,))


def _found(page: Any, request: HttpRequest, object_id: str) -> Any:
    found = page.get_object(request, unquote(object_id))
    if found is None or not page.has_view_permission(request, found):
        raise Http404
    return found


def _changeable_key(page: Any, request: HttpRequest, object_id: str) -> ApiKey:
    key: ApiKey = _found(page, request, object_id)
    if not request.user.has_perm("tenants.change_apikey"):
        raise PermissionDenied
    return key


def _annotate(tenants: Any) -> None:
    """Numbers for a page of the list: one statement, one round trip to Redis."""
    since = timezone.now() - timedelta(hours=24)
    runs: Mapping[uuid.UUID, int] | None = in_time(
        lambda: metrics.runs_since(since, [tenant.pk for tenant in tenants])
    )
    uses = quotas.uses(tenants)
    for tenant in tenants:
        tenant.runs = None if runs is None else runs.get(tenant.pk, 0)
        tenant.use = uses[tenant.pk] if uses else None
