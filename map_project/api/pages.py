"""The pages of the documentation: all that they load comes from here."""

from typing import Any

from drf_spectacular.views import SpectacularRedocView, SpectacularSwaggerView
from rest_framework.response import Response
from rest_framework.views import APIView

# Both pages have scripts and styles within them, and ReDoc a worker; its logo, which it would load
# from a CDN, is what the browser refuses.
_HERE_ALONE = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; worker-src 'self' blob:"
)


class _LocalPage(APIView):
    http_method_names = ["get", "head"]

    def finalize_response(self, *args: Any, **kwargs: Any) -> Response:
        response: Response = super().finalize_response(*args, **kwargs)
        response["Content-Security-Policy"] = _HERE_ALONE
        return response


class SwaggerView(_LocalPage, SpectacularSwaggerView):
    """Swagger UI."""


class RedocView(_LocalPage, SpectacularRedocView):
    """ReDoc."""

    template_name = "api/redoc.html"
