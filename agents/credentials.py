"""Validation of a model's credential, for the admin and the commands."""

import re

from django.conf import settings
from django.core.exceptions import ValidationError

from map_project.api import secrets
from tools.definitions import MAX_SECRET_CHARACTERS, secret_errors

_QUOTES = "\"'`\u2018\u2019\u201c\u201d"
_SCHEME = re.compile(
    r"(proxy-)?authorization\s*[:=]|(bearer|token|basic|api-?key)(\s|:|$)", re.IGNORECASE
)
# X-Api-Key: sk-..., OPENAI_API_KEY=sk-..., --api-key=sk-... Base64 can end with "=".
_NAME = re.compile(
    r"[\w.-]*(key|token|secret|password|credential)\s*[:=]\s*[^\s=]|(export|setx?)\s",
    re.IGNORECASE,
)
# OPENAI_API_KEY, $OPENAI_API_KEY, ${OPENAI_API_KEY}, $env:OPENAI_API_KEY, %OPENAI_API_KEY%
_VARIABLE = re.compile(
    r"\$([({]|env:|[A-Za-z_]\w*$)|%\w+%$|\{.*\}$|[A-Z][A-Z0-9]*_[A-Z0-9_]*=[^=]"
    r"|[A-Z][A-Z0-9]*_API_(KEY|TOKEN|SECRET)=?$|(os\.(environ|getenv)|process\.env|env[.:])"
)
# <your API key>, and a key as a list of keys shows it: sk-...1234, sk-****
_PLACEHOLDER = re.compile(r"<.*>$|.*(\.\.\.|\u2026|\*\*\*)")


def encrypted_credential(credential: str) -> str:
    """Return the token of a credential, to be stored. Raises ValidationError."""
    if not settings.SECRETS_KEYS:
        raise ValidationError("SECRETS_KEYS is not set: secrets cannot be stored.")
    if credential[:1] and (credential[0] in _QUOTES or credential[-1] in _QUOTES):
        raise ValidationError("Enter the credential without quotes.")
    if _SCHEME.match(credential):
        raise ValidationError(
            'Enter the credential alone, without "Bearer" and the name of a header.'
        )
    if _NAME.match(credential) or _VARIABLE.match(credential):
        raise ValidationError("Enter the value of the variable, without its name.")
    if _PLACEHOLDER.match(credential):
        raise ValidationError("Enter the whole credential, not a placeholder.")
    # It is sent in an HTTP header.
    if " " in credential or secret_errors({"credential": credential}):
        raise ValidationError(
            f"Enter at most {MAX_SECRET_CHARACTERS} printable ASCII characters without spaces "
            "and line breaks."
        )
    return secrets.encrypt(credential)
