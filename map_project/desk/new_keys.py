"""A new API key between the form that issues it and the page that shows it once.

Django's session keeps it for that redirect: encrypted with a key derived from SECRET_KEY, and only until
it is shown. A key that is not shown within five minutes cannot be shown any more.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.crypto import salted_hmac

from map_project.tenants.models import ApiKey

LIFETIME_SECONDS = 300


def redirect_to_new_key(request: HttpRequest, key: ApiKey, text: str) -> HttpResponse:
    """Redirect to the page that shows the key, so that a reload does not issue another one."""
    token = _fernet().encrypt(text.encode()).decode()
    request.session[_name(key)] = token
    return HttpResponseRedirect(reverse("admin:new_key", args=(key.pk,)))


def take_new_key(request: HttpRequest, key: ApiKey) -> str | None:
    """Return the text of the key and remove it from the session; None if it was shown or is too old."""
    token = request.session.pop(_name(key), "")
    try:
        return _fernet().decrypt(token, ttl=LIFETIME_SECONDS).decode()
    except InvalidToken:
        return None


def _name(key: ApiKey) -> str:
    return f"new_api_key_{key.pk}"


def _fernet() -> Fernet:
    digest = salted_hmac("map_project.desk.new_keys", "", algorithm="sha256").digest()
    return Fernet(base64.urlsafe_b64encode(digest))
