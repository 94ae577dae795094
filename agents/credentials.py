"""Validation of a model's credential, for the admin and the commands."""

import re

from django.conf import settings
from django.core.exceptions import ValidationError

from map_project.api import secrets
from tools.definitions import MAX_SECRET_CHARACTERS, secret_errors

_SCHEME = re.compile(r"(authorization:\s*)?(bearer|token|basic)\b", re.IGNORECASE)
# $OPENAI_API_KEY, ${OPENAI_API_KEY}, export OPENAI_API_KEY=..., %OPENAI_API_KEY%
_VARIABLE = re.compile(r"\$|%\w+%|(export\s+)?[A-Z][A-Z0-9]*_[A-Z0-9_]*\s*=|export\s")


def encrypted_credential(credential: str) -> str:
    """Return the token of a credential, to be stored. Raises ValidationError."""
    if not settings.SECRETS_KEYS:
        raise ValidationError("SECRETS_KEYS is not set: secrets cannot be stored.")
    if _SCHEME.match(credential):
        raise ValidationError('Enter the credential alone, without "Bearer".')
    if credential[:1] in {'"', "'", "`"}:
        raise ValidationError("Enter the credential without quotes.")
    if _VARIABLE.match(credential):
        raise ValidationError("Enter the value of the variable, without its name.")
    # It is sent in an HTTP header.
    if " " in credential or secret_errors({"credential": credential}):
        raise ValidationError(
            f"Enter at most {MAX_SECRET_CHARACTERS} printable ASCII characters without spaces."
        )
    return secrets.encrypt(credential)
