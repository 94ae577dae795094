"""An agent and the tools it is composed of."""

from django.db import models

from map_project.tenants.models import TenantOwned
from tools.models import Tool


class Agent(TenantOwned):
    """An agent of one tenant; its name is unique there, by code point."""

    name = models.CharField(max_length=100)
    role = models.CharField(max_length=100)
    description = models.CharField(max_length=1000)
    # Counted up by triggers of the database (agents/migrations/0002) at every change of the agent, of
    # its tools, and of which they are, whoever makes it: what was read at a version still holds
    # while the version does.
    version = models.PositiveBigIntegerField(db_default=1, editable=False)
    tools = models.ManyToManyField(Tool, through="AgentTool", related_name="agents", blank=True)

    class Meta:
        ordering = ("created_at", "id")
        constraints = [models.UniqueConstraint(fields=("tenant", "name"), name="agent_name_unique")]
        indexes = [models.Index(fields=("tenant", "created_at", "id"), name="agent_by_age")]

    def __str__(self) -> str:
        return self.name

    def tools_by_name(self) -> list[Tool]:
        """Its tools, ordered by the code points of their names, whatever the database's collation."""
        return sorted(self.tools.all(), key=lambda tool: tool.name)


class AgentTool(models.Model):
    """One tool of one agent. The database refuses to delete a tool that stands here."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE)
    tool = models.ForeignKey(Tool, on_delete=models.PROTECT)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("agent", "tool"), name="agent_tool_once")]
        verbose_name = "tool of an agent"
        verbose_name_plural = "tools of an agent"

    def __str__(self) -> str:
        return f"{self.agent} uses {self.tool}"
