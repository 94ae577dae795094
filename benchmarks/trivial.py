"""Django and DRF with one trivial view, and nothing else: what our start is compared with."""

from django.conf import settings

settings.configure(
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None},
)

from django.core.wsgi import get_wsgi_application  # noqa: E402  the settings come first

application = get_wsgi_application()

from django.urls import path  # noqa: E402  DRF wants the applications loaded
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402


class Hello(APIView):
    """One view."""

    def get(self, request: Request) -> Response:
        """Says hello."""
        return Response({"hello": "world"})


urlpatterns = [path("hello", Hello.as_view())]
