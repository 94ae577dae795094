"""URLs of the OpenAI-compatible API."""

from django.urls import path

from map_project.openai_api.conversations import ConversationViewSet
from map_project.openai_api.views import (
    ChatCompletionViewSet,
    ModelViewSet,
    ResponseRunViewSet,
    ResponseViewSet,
)

# `ratelimit.middleware` knows the routes of runs by their names.
urlpatterns = [
    path("models", ModelViewSet.as_view({"get": "models"}), name="v1-models"),
    path("models/<path:name>", ModelViewSet.as_view({"get": "retrieve"}), name="v1-model"),
    path("responses", ResponseRunViewSet.as_view({"post": "create"}), name="v1-responses"),
    path(
        "responses/<str:pk>",
        ResponseViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
        name="v1-response",
    ),
    path(
        "responses/<str:pk>/cancel",
        ResponseViewSet.as_view({"post": "cancel"}),
        name="v1-response-cancel",
    ),
    path(
        "responses/<str:pk>/input_items",
        ResponseViewSet.as_view({"get": "input_items"}),
        name="v1-response-input-items",
    ),
    path(
        "conversations",
        ConversationViewSet.as_view({"post": "create"}),
        name="v1-conversations",
    ),
    path(
        "conversations/<str:pk>",
        ConversationViewSet.as_view({"get": "retrieve", "delete": "destroy"}),
        name="v1-conversation",
    ),
    path(
        "conversations/<str:pk>/items",
        ConversationViewSet.as_view({"get": "items"}),
        name="v1-conversation-items",
    ),
    path(
        "chat/completions",
        ChatCompletionViewSet.as_view({"post": "create"}),
        name="v1-chat-completions",
    ),
]
