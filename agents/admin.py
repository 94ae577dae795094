"""Agents and language models in the admin. Changes to agents go through the services of the API."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.sites import AdminSite
from django.contrib.admin.widgets import AutocompleteSelectMultiple
from django.db.models import Count, Field, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldBooleanSwitchWidget,
)

from agents import language_models, services
from agents.credentials import encrypted_credential
from agents.models import MAX_TOOLS, Agent, LanguageModel
from agents.serializers import SettingsField
from map_project.api.errors import ApiError
from map_project.tenants.admin import BaseAdmin, TenantOwnedAdmin, TenantOwnedForm, validate_as_api
from map_project.tenants.number_fields import PlainFloatField, PlainIntegerField
from tools.forms import SchemaField
from tools.models import Tool


class TenantToolsWidget(AutocompleteSelectMultiple):
    """Autocomplete with the tools of one tenant."""

    def __init__(self, tenant_id: object, site: AdminSite) -> None:
        super().__init__(Agent._meta.get_field("tools"), site)
        self._tenant_id = tenant_id

    def get_url(self) -> str:
        return f"{super().get_url()}?tenant={self._tenant_id}"


AGENTS_SHOWN = 20

SETTING_FIELDS = ("temperature", "max_output_tokens")


def _validate_setting(name: str, value: Any) -> None:
    validate_as_api(SettingsField(), {name: value})


class AgentForm(TenantOwnedForm):
    """An agent. The validation is that of the API."""

    temperature = PlainFloatField(
        required=False,
        validators=[partial(_validate_setting, "temperature")],
        widget=UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}),
        help_text="From 0 to 2. Leave blank for the model's default.",
    )
    max_output_tokens = PlainIntegerField(
        required=False,
        validators=[partial(_validate_setting, "max_output_tokens")],
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text="Maximum tokens per model response. Leave blank for the model's default.",
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        agent: Any = self.instance
        self.initial.update({name: agent.settings.get(name) for name in SETTING_FIELDS})

    def clean_model(self) -> str | None:
        name: str | None = self.cleaned_data["model"]
        tenant = self.cleaned_data.get("tenant") or getattr(self.instance, "tenant", None)
        # A model that was removed since must not prevent other changes.
        if name is None or tenant is None or "model" not in self.changed_data:
            return name
        try:
            language_models.find(name, tenant.allowed_models)
        except ApiError as error:
            known = ", ".join(error.details["allowed_models"]) or "none"
            raise forms.ValidationError(f"{error.message} This tenant may use: {known}.") from None
        return name


class AgentWithToolsForm(AgentForm):
    """An existing agent, with its tools. The choices are the tools of its tenant."""

    selected_tools = forms.ModelMultipleChoiceField(
        Tool.objects.none(), required=False, label="Tools", help_text="Tools of the same tenant."
    )

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        agent = self.instance
        if "selected_tools" in self.fields:
            field: Any = self.fields["selected_tools"]
            field.queryset = Tool.objects.filter(tenant_id=agent.tenant_id).order_by("name")
            field.widget = TenantToolsWidget(agent.tenant_id, admin.site)
            field.widget.choices = field.choices
            field.initial = list(Tool.objects.filter(agents=agent.pk).values_list("pk", flat=True))

    def clean_selected_tools(self) -> Any:
        tools = self.cleaned_data["selected_tools"]
        if len(tools) > MAX_TOOLS:
            raise forms.ValidationError(f"Select at most {MAX_TOOLS} tools.")
        return tools


@admin.register(Agent)
class AgentAdmin(TenantOwnedAdmin):
    """An agent with its tools. Its tenant cannot change.

    A new agent is created without tools, because the choices depend on its tenant.
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
    unstripped_fields = ("role", "description")
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
        limits = ("max_steps", "max_tool_calls", "max_context_characters")
        texts = ("tenant", "name", "role", "description", "model", *limits)
        if obj is None:
            return (*texts, *SETTING_FIELDS, "output_schema")
        metadata = ("id", "created_at", "updated_at")
        if self.has_change_permission(request, obj):
            return (*texts, *SETTING_FIELDS, "output_schema", "selected_tools", *metadata)
        return (*texts, "settings", "output_schema", "tool_names", *metadata)

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name == "output_schema":
            return SchemaField(required=False, help_text=db_field.help_text)
        return super().formfield_for_dbfield(db_field, request, **options)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Agent]:
        agents: QuerySet[Agent] = super().get_queryset(request)
        if request.resolver_match and request.resolver_match.url_name == "agents_agent_changelist":
            return agents.annotate(tool_count=Count("tools"))
        return agents

    @admin.display(description="tools", ordering="tool_count")
    def number_of_tools(self, agent: Any) -> int:
        return agent.tool_count

    @admin.display(description="tools")
    def tool_names(self, agent: Agent) -> str:
        """The agent's tools, for users who cannot change the agent."""
        return ", ".join(tool.name for tool in agent.tools_by_name()) or "-"

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if change:
            super().save_model(request, obj, form, change)
            return
        values = {name: value for name, value in form.cleaned_data.items() if name != "tenant"}
        fields = _merge_settings(obj, values)
        agent = services.create_agent(tenant_id=obj.tenant_id, **fields)
        obj.pk, obj.created_at, obj.updated_at = agent.pk, agent.created_at, agent.updated_at

    def save_changes(self, obj: Any, fields: Mapping[str, Any]) -> None:
        values = dict(fields)
        tools = values.pop("selected_tools", None)
        changes = _merge_settings(obj, values)
        if tools is not None:
            changes["tool_ids"] = [tool.pk for tool in tools]
        services.update_agent(agent=obj, fields=changes)

    def response_add(
        self, request: HttpRequest, obj: Agent, post_url_continue: str | None = None
    ) -> HttpResponse:
        """After "Save", redirect to the page of the new agent, where its tools are selected."""
        response = super().response_add(request, obj, post_url_continue)
        if "_save" in request.POST and self.has_change_permission(request, obj):
            return HttpResponseRedirect(reverse("admin:agents_agent_change", args=(obj.pk,)))
        return response


def _merge_settings(agent: Agent, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the model: the form's setting fields become the column `settings`, without blanks."""
    fields = {name: value for name, value in values.items() if name not in SETTING_FIELDS}
    changed = {name: values[name] for name in SETTING_FIELDS if name in values}
    if changed:
        merged = {**agent.settings, **changed}
        fields["settings"] = {name: value for name, value in merged.items() if value is not None}
    return fields


class LanguageModelForm(forms.ModelForm[LanguageModel]):
    """A model. Its credential can be set and removed, but not read."""

    credential = forms.CharField(
        required=False,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}),
        help_text="Stored encrypted and never shown again. Leave blank to keep the current credential.",
    )
    remove_credential = forms.BooleanField(required=False, widget=UnfoldBooleanSwitchWidget())

    def clean_credential(self) -> str:
        credential: str = self.cleaned_data["credential"]
        if credential:
            self.instance.credential_token = encrypted_credential(credential)
        return credential

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        if self.cleaned_data.get("remove_credential") and not self.cleaned_data.get("credential"):
            self.instance.credential_token = ""
        return cleaned


@admin.register(LanguageModel)
class LanguageModelAdmin(BaseAdmin):
    """Language models. All processes apply a change within two seconds."""

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
        ("Credential", {"fields": ("has_credential", "credential", "remove_credential")}),
        ("Prices", {"fields": (("input_price_per_million", "output_price_per_million"),)}),
        ("Limits", {"fields": ("timeout_seconds", "max_retries", "max_output_tokens")}),
    )
    readonly_fields = ("has_credential",)
    change_form_outer_before_template = "desk/test_connection.html"

    def get_fieldsets(self, request: HttpRequest, obj: LanguageModel | None = None) -> Any:
        """Without the write-only fields for users who cannot change the model."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is None or self.has_change_permission(request, obj):
            return fieldsets
        read_only = {"fields": ("has_credential",)}
        return [
            (name, read_only if name == "Credential" else options) for name, options in fieldsets
        ]

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Warn on the page that asks for confirmation: agents name their models, without a foreign key."""
        if "post" not in request.POST:
            for model in objs:
                if warning := _deletion_warning(model):
                    messages.warning(request, warning)
        return super().get_deleted_objects(objs, request)

    @admin.display(description="credential set")
    def has_credential(self, model: LanguageModel) -> str:
        if model.credential_token:
            return "yes"
        return "not needed" if model.provider == "mock" else "no"


def _deletion_warning(model: LanguageModel) -> str:
    """The agents whose default model this is, or ""."""
    agents = Agent.objects.filter(model=model.name).select_related("tenant")
    count = agents.count()
    if not count:
        return ""
    names = [f"{agent} ({agent.tenant})" for agent in agents.order_by("pk")[:AGENTS_SHOWN]]
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return (
        f"{model} is the default model of {count} agent{'' if count == 1 else 's'}: "
        f"{', '.join(names)}{more}. Their runs fail unless a request names another model."
    )
