"""URLs of the caller's own account."""

from django.urls import path

from ratelimit.views import MeViewSet

urlpatterns = [path("me", MeViewSet.as_view({"get": "retrieve"}), name="me")]
