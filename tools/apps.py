from django.apps import AppConfig

from map_project.api import secrets


class ToolsConfig(AppConfig):
    """What agents are composed of."""

    name = "tools"

    def ready(self) -> None:
        secrets.keep("tools.Tool", "secrets_token")
