from django.apps import AppConfig


class ToolsConfig(AppConfig):
    """The tools that agents use."""

    name = "tools"
