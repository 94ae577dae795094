from django.apps import AppConfig


class UsageConfig(AppConfig):
    """Totals of ended runs, and counters."""

    name = "map_project.usage"
    label = "usage"
    verbose_name = "Usage"
