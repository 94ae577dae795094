from django.apps import AppConfig
from django.db.models.signals import post_delete, post_save


class AgentsConfig(AppConfig):
    """Agents and the language models that they run on."""

    name = "agents"

    def ready(self) -> None:
        from agents import language_models
        from agents.models import LanguageModel

        for signal in (post_save, post_delete):
            signal.connect(language_models.forget, LanguageModel, dispatch_uid="agents.forget")
