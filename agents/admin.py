"""Agents in the admin, written by the functions that the API calls; the models that agents run on."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.sites import AdminSite
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.db.models import Count, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.admin import ModelAdmin
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldBooleanSwitchWidget,
)

from agents import language_models, services
from agents.models import Agent, LanguageModel
from agents.serializers import SettingsField
from map_project.api import secrets
from map_project.api.errors import ApiError
from map_project.tenants.admin import TenantOwnedAdmin, TenantOwnedForm, by_api
from tools.definitions import MAX_SECRET_CHARACTERS, secrets_problems
from tools.models import Tool


class OwnToolsWidget(AutocompleteSelectMultiple):
    """Offers the tools of one tenant."""

    def __init__(self, tenant_id: object, site: AdminSite) -> None:
        super().__init__(Agent._meta.get_field("tools"), site)
        self._tenant_id = tenant_id

    def get_url(self) -> str:
        return f"{super().get_url()}?tenant={self._tenant_id}"


SETTINGS = ("temperature", "max_output_tokens")


class AgentForm(TenantOwnedForm):
    """An agent; what it may be is what the API takes."""

    temperature = forms.FloatField(
        required=False,
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text="From 0 to 2; empty leaves it to the model.",
    )
    max_output_tokens = forms.IntegerField(
        required=False,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Of one answer of the model; empty leaves it to the model.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        agent: Any = self.instance
        self.initial.update({name: agent.settings.get(name) for name in SETTINGS})

    def clean_model(self) -> str | None:
        name: str | None = self.cleaned_data["model"]
        tenant = self.cleaned_data.get("tenant") or getattr(self.instance, "tenant", None)
        # One that is gone meanwhile is no reason to refuse everything else.
        if name is None or tenant is None or "model" not in self.changed_data:
            return name
        try:
            language_models.find(name, tenant.allowed_models)
        except ApiError as error:
            known = ", ".join(error.details["allowed_models"]) or "none"
            raise forms.ValidationError(f"{error.message} This tenant may use: {known}.") from None
        return name

    def clean_temperature(self) -> float | None:
        return self._setting("temperature")

    def clean_max_output_tokens(self) -> int | None:
        return self._setting("max_output_tokens")

    def _setting(self, name: str) -> Any:
        value = self.cleaned_data[name]
        if value is not None:
            by_api(SettingsField(), {name: value})
        return value


class AgentWithToolsForm(AgentForm):
    """An agent that exists, with its tools; those of other tenants are no choices."""

    uses = forms.ModelMultipleChoiceField(
        Tool.objects.none(), required=False, label="Tools", help_text="Tools of the same tenant."
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        agent = self.instance
        if "uses" in self.fields:
            field: Any = self.fields["uses"]
            field.queryset = Tool.objects.filter(tenant_id=agent.tenant_id).order_by("name")
            field.widget = OwnToolsWidget(agent.tenant_id, admin.site)
            field.widget.choices = field.choices
            field.initial = list(Tool.objects.filter(agents=agent.pk).values_list("pk", flat=True))


@admin.register(Agent)
class AgentAdmin(TenantOwnedAdmin):
    """An agent with its tools; it cannot move to another tenant.

    A new one has no tools yet: which there are depends on its tenant, which is chosen first.
    """

    list_display = (
        "name",
        "tenant",
        "role",
        "model",
        "number_of_tools",
        "created_at",
        "updated_at",
    )
    search_fields = ("name", "role", "description")
    kept_texts = ("role", "description")
    readonly_fields = ("id", "tool_names", "created_at", "updated_at")

    def get_form(
        self, request: HttpRequest, obj: Agent | None = None, change: bool = False, **options: Any
    ) -> Any:
        editable = obj and self.has_change_permission(request, obj)
        if editable:
            options["form"] = AgentWithToolsForm
        elif obj is None:
            options["form"] = AgentForm
        return super().get_form(request, obj, change, **options)

    def get_fields(self, request: HttpRequest, obj: Agent | None = None) -> tuple[str, ...]:
        texts = ("tenant", "name", "role", "description", "model", "max_steps")
        if obj is None:
            return (*texts, *SETTINGS)
        made = ("id", "created_at", "updated_at")
        if self.has_change_permission(request, obj):
            return (*texts, *SETTINGS, "uses", *made)
        return (*texts, "settings", "tool_names", *made)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        agents: QuerySet[Agent] = super().get_queryset(request)
        if request.resolver_match and request.resolver_match.url_name == "agents_agent_changelist":
            return agents.annotate(tool_count=Count("tools"))
        return agents

    @admin.display(description="tools", ordering="tool_count")
    def number_of_tools(self, agent: Any) -> int:
        """How many tools it has."""
        count: int = agent.tool_count
        return count

    @admin.display(description="tools")
    def tool_names(self, agent: Agent) -> str:
        """Its tools, for whoever may only look."""
        return ", ".join(tool.name for tool in agent.tools_by_name()) or "-"

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        sent = {name: value for name, value in form.cleaned_data.items() if name != "tenant"}
        fields = _with_settings(obj, sent)
        made = services.create_agent(tenant_id=obj.tenant_id, **fields)
        obj.pk, obj.created_at, obj.updated_at = made.pk, made.created_at, made.updated_at

    def write_changes(self, obj: Any, fields: Mapping[str, Any]) -> None:
        tools = fields.get("uses")
        columns = _with_settings(obj, {name: fields[name] for name in fields if name != "uses"})
        if tools is not None:
            columns["tool_ids"] = [tool.pk for tool in tools]
        services.update_agent(agent=obj, fields=columns)

    def response_add(
        self, request: HttpRequest, obj: Agent, post_url_continue: str | None = None
    ) -> HttpResponse:
        """On to the tools, unless something else was asked for."""
        answer = super().response_add(request, obj, post_url_continue)
        if "_save" in request.POST and not self.has_change_permission(request, obj):
            return answer
        if "_save" in request.POST:
            return HttpResponseRedirect(reverse("admin:agents_agent_change", args=(obj.pk,)))
        return answer


def _with_settings(agent: Agent, sent: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs for settings are one column, in which what is empty is left out."""
    fields = {name: value for name, value in sent.items() if name not in SETTINGS}
    settings_sent = {name: sent[name] for name in SETTINGS if name in sent}
    if settings_sent:
        found = {**agent.settings, **settings_sent}
        fields["settings"] = {name: value for name, value in found.items() if value is not None}
    return fields


class LanguageModelForm(forms.ModelForm[LanguageModel]):
    """A model; its credential is written and never read back."""

    credential = forms.CharField(
        required=False,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text="Kept encrypted, and not shown again. Empty leaves it as it is.",
    )
    forget_credential = forms.BooleanField(required=False, widget=UnfoldBooleanSwitchWidget())

    def clean_credential(self) -> str:
        credential: str = self.cleaned_data["credential"]
        if credential and not settings.SECRETS_KEYS:
            raise forms.ValidationError("SECRETS_KEYS is not set: no secret can be kept.")
        if credential and secrets_problems({"credential": credential}):
            # It goes into a header.
            told = f"Expected at most {MAX_SECRET_CHARACTERS} characters of printable ASCII."
            raise forms.ValidationError(told)
        return credential

    def save(self, commit: bool = True) -> LanguageModel:
        if self.cleaned_data["forget_credential"]:
            self.instance.credential_token = ""
        if credential := self.cleaned_data["credential"]:
            self.instance.credential_token = secrets.encrypt(credential)
        return super().save(commit)


@admin.register(LanguageModel)
class LanguageModelAdmin(ModelAdmin):
    """A model name that tenants use, and what serves it; an edit holds everywhere in two seconds."""

    form = LanguageModelForm
    list_fullwidth = True
    list_display = (
        "name",
        "provider",
        "upstream_name",
        "is_active",
        "has_credential",
        "input_price_per_million",
        "output_price_per_million",
    )
    list_filter = ("is_active", "provider")
    search_fields = ("name", "upstream_name")
    fieldsets = (
        (None, {"fields": ("name", "is_active", "provider", "upstream_name", "base_url")}),
        ("Credential", {"fields": ("has_credential", "credential", "forget_credential")}),
        ("Prices, USD", {"fields": (("input_price_per_million", "output_price_per_million"),)}),
        ("Bounds", {"fields": ("timeout_seconds", "max_retries", "max_output_tokens")}),
    )
    readonly_fields = ("has_credential",)

    def get_fieldsets(self, request: HttpRequest, obj: LanguageModel | None = None) -> Any:
        """For whoever may only look, without what is only written."""
        if self.has_change_permission(request, obj):
            return self.fieldsets
        told = {"fields": ("has_credential",)}
        return [(name, told if name == "Credential" else of) for name, of in self.fieldsets]

    @admin.display(boolean=True, description="kept")
    def has_credential(self, model: LanguageModel) -> bool:
        """Whether there is one."""
        return bool(model.credential_token)
