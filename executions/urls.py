"""Addresses of runs and history."""

from django.urls import path

from executions.views import HistoryViewSet, RunViewSet

urlpatterns = [
    # The limiter's middleware knows this route by its name.
    path("agents/<str:pk>/run", RunViewSet.as_view({"post": "create"}), name="agent-run"),
    path("history", HistoryViewSet.as_view({"get": "list"}), name="history"),
    path("history/<str:pk>", HistoryViewSet.as_view({"get": "retrieve"}), name="execution"),
]
