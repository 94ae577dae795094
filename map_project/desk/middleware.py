"""What the admin's pages need and the API does not: a session, who is signed in, and messages.

Each does nothing outside the admin; a call of the API would pay for all of them.
"""

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest, HttpResponseBase
from django.utils.deprecation import MiddlewareMixin


class _InTheAdmin(MiddlewareMixin):
    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/admin"):
            return super().__call__(request)  # type: ignore[return-value]
        return self.get_response(request)  # type: ignore[return-value]


class SessionMiddleware(_InTheAdmin, sessions.SessionMiddleware):
    """Django's, in the admin."""


class AuthenticationMiddleware(_InTheAdmin, auth.AuthenticationMiddleware):
    """Django's, in the admin."""


class MessageMiddleware(_InTheAdmin, messages.MessageMiddleware):
    """Django's, in the admin."""
