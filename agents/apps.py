from django.apps import AppConfig


class AgentsConfig(AppConfig):
    """Agents, composed of tools."""

    name = "agents"
