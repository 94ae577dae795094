"""Swagger UI and ReDoc with local assets only."""

from typing import Any

from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

# Both pages have inline scripts and styles, and ReDoc starts a worker. The policy blocks ReDoc's logo,
# which it would load from a CDN.
_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; worker-src 'self' blob:"
)


class _LocalPage(APIView):
    http_method_names = ["get", "head"]

    def finalize_response(self, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().finalize_response(*args, **kwargs)
        response["Content-Security-Policy"] = _CONTENT_SECURITY_POLICY
        return response


class SwaggerView(_LocalPage, SpectacularSwaggerView):
    """Swagger UI."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        # The template of drf-spectacular would set a CSRF cookie, which the API does not use.
        response.data["csrf_token"] = ""
        return response


class RedocView(_LocalPage, SpectacularRedocView):
    """ReDoc."""

    template_name = "api/redoc.html"
