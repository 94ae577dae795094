"""Addresses of agents. An id is parsed by us: a malformed one is a 404 of the agent."""

from django.urls import path

from agents.views import AgentViewSet, LanguageModelViewSet

urlpatterns = [
    path("agents", AgentViewSet.as_view({"get": "list", "post": "create"}), name="agents"),
    path(
        "agents/<str:pk>",
        AgentViewSet.as_view(
            {
                "get": "retrieve",
                "put": "update",
                "patch": "partial_update",
                "delete": "destroy",
            }
        ),
        name="agent",
    ),
    path("models", LanguageModelViewSet.as_view({"get": "list"}), name="models"),
]
