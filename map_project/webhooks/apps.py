from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """Webhooks."""

    name = "map_project.webhooks"
    label = "webhooks"
    verbose_name = "Webhooks"

    def ready(self) -> None:
        from map_project.webhooks import errors  # noqa: F401  registers the error codes
