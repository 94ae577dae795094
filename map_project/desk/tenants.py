"""Tenants in the admin: their list, and a page with usage, quota, keys and settings of one tenant."""

import uuid
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from unfold.widgets import UnfoldAdminSelect2MultipleWidget

from agents.language_models import check_allow_list
from agents.models import Agent, LanguageModel
from executions.display import period
from map_project.api import audit
from map_project.desk import metrics, quotas
from map_project.desk.api_keys import key_state
from map_project.desk.budgets import budgets_of
from map_project.desk.dashboard import format_latency, history_url, none_on_timeout, runs_chart
from map_project.desk.forms import IssueForm
from map_project.desk.metrics import DAY
from map_project.desk.new_keys import redirect_to_new_key
from map_project.desk.pages import (
    get_object,
    render_form,
    tenant_url,
)
from map_project.tenants.admin import UndeletableAdmin
from map_project.tenants.keys import is_valid, issue_key
from map_project.tenants.models import Tenant
from ratelimit.limiter import LimiterUnavailable, default_limiter
from tools.models import Tool

KEYS_SHOWN = 100


# The choice that no model is allowed, which is no name of a model.
NO_MODEL = ""


class TenantForm(forms.ModelForm[Tenant]):
    """A tenant. Its allow-list is a selection of models: none selected allows all of them."""

    allowed_models = forms.MultipleChoiceField(
        required=False,
        widget=UnfoldAdminSelect2MultipleWidget(),
        help_text="Models that this tenant may use. If none are selected, it may use all models.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "allowed_models" not in self.fields:
            return
        kept = self.instance.allowed_models
        # A name in the list may be that of a model that was renamed or deleted.
        names = dict.fromkeys(
            [*LanguageModel.objects.values_list("name", flat=True), *(kept or ())]
        )
        choices = [(NO_MODEL, "(no model)"), *((name, name) for name in names)]
        self.fields["allowed_models"].choices = choices  # type: ignore[attr-defined]
        self.initial["allowed_models"] = [NO_MODEL] if kept == [] else kept or []

    def clean_allowed_models(self) -> list[str] | None:
        names: list[str] = self.cleaned_data["allowed_models"]
        if NO_MODEL in names and len(names) > 1:
            raise forms.ValidationError("Select models or (no model), not both.")
        allowed = [] if NO_MODEL in names else names or None
        check_allow_list(allowed, self.instance.allowed_models)
        return allowed


@admin.register(Tenant)
class TenantAdmin(UndeletableAdmin):
    """Tenants are deactivated instead of deleted."""

    form = TenantForm
    list_display = ("name", "state", "usage", "runs_in_24_hours", "quota", "created_at")
    list_filter = ("is_active",)
    list_per_page = 50
    search_fields = ("name",)
    readonly_fields = ("id", "created_at")
    fieldsets = (
        (
            "Settings",
            {
                "fields": (
                    "name",
                    "is_active",
                    ("rate_limit_requests", "rate_limit_window_seconds"),
                    ("max_concurrent_runs", "max_queued_runs"),
                    ("budget_usd_day", "budget_usd_month", "budget_warning_percent"),
                    "retention_days",
                    "allowed_models",
                    ("id", "created_at"),
                )
            },
        ),
    )
    change_form_outer_before_template = "desk/tenant.html"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view
        urls = [
            path("<path:object_id>/issue-key/", view(self.issue_key_view), name="issue_key"),
            path("<path:object_id>/reset-window/", view(self.reset_usage_view), name="reset_usage"),
        ]
        return urls + super().get_urls()

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], **options: Any
    ) -> HttpResponse:
        if tenant := options["obj"]:
            context |= overview(request, tenant)
        return super().render_change_form(request, context, **options)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        if changelist := getattr(response, "context_data", {}).get("cl"):
            _annotate(changelist.result_list)
        return response

    def issue_key_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the form for a new API key of the tenant; issue it and redirect to it on POST."""
        tenant = get_object(self, request, object_id, "tenants.add_apikey")
        form = IssueForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            days = form.cleaned_data["expires_in_days"]
            key, text = issue_key(
                tenant=tenant,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires_in=timedelta(days=days) if days else None,
                user=request.user,
            )
            return redirect_to_new_key(request, key, text)
        return render_form(self, request, tenant, form, title="Issue a key", button="Issue key")

    def reset_usage_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for confirmation; reset the tenant's use of its quota to 0 on POST."""
        tenant = get_object(self, request, object_id, "tenants.change_tenant")
        if request.method != "POST":
            text = (
                "The tenant can use its whole quota again immediately, in addition to what it has "
                "used in the current window."
            )
            return render_form(
                self, request, tenant, None, title="Reset usage?", button="Reset usage", text=text
            )
        try:
            used = default_limiter().peek([quotas.quota(tenant)])[0].used
            default_limiter().reset(tenant.pk, quotas.quota(tenant).window_seconds)
        except LimiterUnavailable:
            messages.error(request, "Redis is unavailable. The usage was not reset.")
        else:
            message = f"Reset the usage of the rate limit: {used} → 0."
            audit.record(tenant, message, user=request.user)
            messages.success(request, f"The usage of {tenant} was reset.")
        return HttpResponseRedirect(tenant_url(tenant.pk))

    @admin.display(description="state", ordering="is_active")
    def state(self, tenant: Tenant) -> str:
        tone, word = ("good", "active") if tenant.is_active else ("plain", "inactive")
        return format_html('<span class="desk-badge desk-{}">{}</span>', tone, word)

    @admin.display(description="quota in use")
    def usage(self, tenant: Any) -> str:
        if tenant.quota_usage is None:
            return "Redis is unavailable"
        return format_html(
            '<span class="desk-meter" title="{used} of {limit}">'
            '<i class="desk-{tone}" style="width:{width}%"></i></span> '
            '<span class="desk-faint desk-nowrap">{used} of {limit}</span>',
            used=tenant.quota_usage.usage.used,
            limit=tenant.quota_usage.usage.limit,
            tone=tenant.quota_usage.tone,
            width=tenant.quota_usage.bar,
        )

    @admin.display(description="runs in 24 h")
    def runs_in_24_hours(self, tenant: Any) -> str:
        return "-" if tenant.runs is None else f"{tenant.runs:,}"

    @admin.display(description="quota")
    def quota(self, tenant: Tenant) -> str:
        """The tenant's quota; gray if it is the default."""
        is_own = tenant.rate_limit_requests or tenant.rate_limit_window_seconds
        quota = quotas.quota(tenant)
        return format_html(
            '<span class="desk-nowrap {}">{} per {}</span>',
            "" if is_own else "desk-faint",
            f"{quota.limit:,}",
            period(quota.window_seconds),
        )


def overview(request: HttpRequest, tenant: Tenant) -> dict[str, Any]:
    """The context of the panels above the tenant's form."""
    now = timezone.now()
    counts = none_on_timeout(lambda: metrics.counts(DAY, now, tenant_id=tenant.pk))
    latency = none_on_timeout(lambda: metrics.latencies(now, tenant_id=tenant.pk))
    usages = quotas.usages([tenant])
    keys = tenant.api_keys.order_by("revoked_at", "-created_at")[:KEYS_SHOWN]
    return {
        "tenant": tenant,
        "counts": counts,
        "charts": {"runs": runs_chart(counts, DAY, now, tenant__id__exact=tenant.pk)}
        if counts
        else {},
        "latency": format_latency(latency[1]) if latency else None,
        "usage": usages[tenant.pk] if usages else None,
        "quota": quotas.quota(tenant),
        "budgets": none_on_timeout(lambda: budgets_of([tenant])),
        "keys": [(key, *key_state(key, at=now), is_valid(key, at=now)) for key in keys],
        "may_issue": request.user.has_perm("tenants.add_apikey"),
        "may_change_keys": request.user.has_perm("tenants.change_apikey"),
        "may_reset": request.user.has_perm("tenants.change_tenant"),
        "links": _links(tenant),
    }


def _links(tenant: Tenant) -> list[tuple[str, int | None, str, str]]:
    """Label, number of rows, icon and URL of the tenant's agents, tools and runs."""
    query = f"?tenant__id__exact={tenant.pk}"
    agents = Agent.objects.filter(tenant=tenant).count()
    tools = Tool.objects.filter(tenant=tenant).count()
    return [
        ("Agents", agents, "smart_toy", reverse("admin:agents_agent_changelist") + query),
        ("Tools", tools, "build", reverse("admin:tools_tool_changelist") + query),
        ("Runs", None, "history", history_url(tenant__id__exact=tenant.pk)),
        ("Usage", None, "calculate", reverse("admin:usage") + f"?tenant={tenant.pk}"),
    ]


def _annotate(tenants: Any) -> None:
    """Set `runs` and `quota_usage` of each tenant: one query and one Redis round trip per page."""
    since = timezone.now() - timedelta(hours=24)
    runs: Mapping[uuid.UUID, int] | None = none_on_timeout(
        lambda: metrics.runs_since(since, [tenant.pk for tenant in tenants])
    )
    usages = quotas.usages(tenants)
    for tenant in tenants:
        tenant.runs = None if runs is None else runs.get(tenant.pk, 0)
        tenant.quota_usage = usages[tenant.pk] if usages else None
