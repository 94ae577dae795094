"""The history in the admin: it is read there, and nothing else."""

from django.contrib import admin

from executions.models import Execution
from map_project.tenants.admin import ReadOnly


@admin.register(Execution)
class ExecutionAdmin(ReadOnly):
    """One execution, whole."""

    list_display = ("created_at", "tenant", "agent_name", "model", "status", "latency_ms")
    list_filter = ("tenant", "model", "status")
    list_select_related = ("tenant",)
    show_full_result_count = False
