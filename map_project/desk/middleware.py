"""What pages need and the API does not: a session, who is signed in, messages, a token against forged
forms, a word on frames. A call of the API would pay for all of them.
"""

from django.contrib.auth import middleware as auth
from django.contrib.messages import middleware as messages
from django.contrib.sessions import middleware as sessions
from django.http import HttpRequest, HttpResponseBase
from django.middleware import clickjacking, csrf
from django.utils.deprecation import MiddlewareMixin


class _InTheAdmin(MiddlewareMixin):
    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/admin"):
            return super().__call__(request)  # type: ignore[return-value]
        return self.get_response(request)  # type: ignore[return-value]


class _OutsideTheAPI(MiddlewareMixin):
    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith("/api/"):
            return self.get_response(request)  # type: ignore[return-value]
        return super().__call__(request)  # type: ignore[return-value]


class SessionMiddleware(_InTheAdmin, sessions.SessionMiddleware):
    """Django's, in the admin."""


class CsrfViewMiddleware(_OutsideTheAPI, csrf.CsrfViewMiddleware):
    """Django's, where a browser's cookies say who asks."""


class AuthenticationMiddleware(_InTheAdmin, auth.AuthenticationMiddleware):
    """Django's, in the admin."""


class MessageMiddleware(_InTheAdmin, messages.MessageMiddleware):
    """Django's, in the admin."""


class XFrameOptionsMiddleware(_OutsideTheAPI, clickjacking.XFrameOptionsMiddleware):
    """Django's, where there are pages."""
