"""URLs of agents and language models."""

from rest_framework.routers import SimpleRouter

from agents.views import AgentViewSet, LanguageModelViewSet

# `<str:pk>` instead of `<uuid:pk>`: a malformed id is a 404 of the agent.
router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("agents", AgentViewSet, basename="agent")
router.register("models", LanguageModelViewSet, basename="model")
urlpatterns = router.urls
