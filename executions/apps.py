from django.apps import AppConfig


class ExecutionsConfig(AppConfig):
    """Runs of agents, and their history."""

    name = "executions"
    verbose_name = "History"
