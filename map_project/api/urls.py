"""URL patterns of the health checks and of the API documentation."""

from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from map_project.api import views
from map_project.api.pages import RedocView, SwaggerView

urlpatterns = [
    # Exempt, so that a POST is a 405 in JSON like everywhere outside the admin.
    path("", csrf_exempt(RedirectView.as_view(url="/docs", http_method_names=["get", "head"]))),
    path("health", views.HealthView.as_view(), name="health"),
    path("live", views.LiveView.as_view(), name="live"),
    path("ready", views.ReadyView.as_view(), name="ready"),
    path("schema", views.SchemaView.as_view(), name="schema"),
    path("docs", SwaggerView.as_view(url_name="schema"), name="docs"),
    path("redoc", RedocView.as_view(url_name="schema"), name="redoc"),
]
