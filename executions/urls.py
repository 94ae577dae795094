"""URLs of runs, history, approvals and conversations."""

from django.urls import path
from rest_framework.routers import SimpleRouter

from executions.approvals.views import ApprovalViewSet
from executions.conversations.views import ConversationViewSet
from executions.views import HistoryViewSet, RunViewSet

router = SimpleRouter(trailing_slash=False, use_regex_path=False)
router.register("history", HistoryViewSet, basename="execution")
router.register("conversations", ConversationViewSet, basename="conversation")
urlpatterns = [
    # `ratelimit.middleware` knows this route by its name.
    path("agents/<str:pk>/run", RunViewSet.as_view({"post": "create"}), name="agent-run"),
    path("approvals", ApprovalViewSet.as_view({"get": "list"}), name="approval-list"),
    path(
        "approvals/<str:pk>",
        ApprovalViewSet.as_view({"get": "retrieve", "post": "decide"}),
        name="approval-detail",
    ),
    *router.urls,
]
