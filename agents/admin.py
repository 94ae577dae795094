"""Agents in the admin."""

from django import forms
from django.contrib import admin

from agents.models import Agent, AgentTool
from tools.models import Tool


class OwnTools(forms.BaseInlineFormSet[AgentTool, Agent, forms.ModelForm[AgentTool]]):
    """The tools of an agent; one of another tenant is refused."""

    def clean(self) -> None:
        super().clean()
        for form in self.forms:
            tool: Tool | None = getattr(form, "cleaned_data", {}).get("tool")
            if tool and tool.tenant_id != self.instance.tenant_id:
                form.add_error("tool", "This tool belongs to another tenant.")


class AgentToolInline(admin.TabularInline[AgentTool, Agent]):
    """The tools of the agent."""

    model = AgentTool
    formset = OwnTools
    extra = 0
    autocomplete_fields = ("tool",)


@admin.register(Agent)
class AgentAdmin(admin.ModelAdmin[Agent]):
    """An agent with its tools; it cannot move to another tenant."""

    list_display = ("name", "tenant", "role", "created_at", "updated_at")
    list_filter = ("tenant",)
    list_select_related = ("tenant",)
    search_fields = ("name", "role", "description")
    readonly_fields = ("id", "created_at", "updated_at")
    inlines = (AgentToolInline,)

    def get_readonly_fields(self, request: object, obj: Agent | None = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "tenant") if obj else self.readonly_fields
