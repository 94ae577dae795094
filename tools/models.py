"""A tool: what an agent may use."""

from django.db import models

from map_project.tenants.models import TenantOwned


class Tool(TenantOwned):
    """A tool of one tenant; its name is unique there, by code point."""

    name = models.CharField(max_length=100)
    description = models.CharField(max_length=1000)

    class Meta:
        ordering = ("created_at", "id")
        constraints = [models.UniqueConstraint(fields=("tenant", "name"), name="tool_name_unique")]
        indexes = [models.Index(fields=("tenant", "created_at", "id"), name="tool_by_age")]

    def __str__(self) -> str:
        return self.name
