from django.apps import AppConfig


class ToolsConfig(AppConfig):
    """What agents are composed of."""

    name = "tools"
