"""URLs of usage."""

from django.urls import path

from map_project.usage.views import UsageViewSet

urlpatterns = [path("usage", UsageViewSet.as_view({"get": "retrieve"}), name="usage")]
