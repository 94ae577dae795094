"""Validation of a language model's base URL."""

import re
from urllib.parse import SplitResult, urlsplit

import httpx2
from django.core.exceptions import ValidationError

from tools.addresses import parse_address

# Of the APIs. A base URL that ends with one was copied from an example of a request.
_ENDPOINT = re.compile(
    r"/+(chat/+completions|completions|responses|embeddings|models|(audio|images)/+[a-z]+)$"
    r"|(?<=/v1)/+(messages(/+count_tokens|/+batches)?|chat|complete|audio|images|moderations|rerank"
    r"|responses/.*|files|batches|threads|assistants|realtime|fine_tuning(/+jobs)?)$"
)
# Of Ollama's own API, which has another base URL than the compatible one.
_OLLAMA_ENDPOINT = re.compile("/api/+(chat|generate|tags|embed)$")
_LABEL = re.compile("[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?")
# A last label that URL parsers read as a number makes the host an IPv4 address.
_NUMBER = re.compile("[0-9]+|0x[0-9a-f]*")
# Characters that no URL contains. Some stand for a part that is still to be filled in.
_PLACEHOLDER = re.compile(r'["<>\\^`{|}]|\$[A-Za-z_]')


def address(value: str) -> None:
    """Validate an http or https URL. Unlike Django's URLValidator, it accepts any host name: in an
    internal network it can be `ollama`.
    """
    parts = _parts(value)
    if parts is None or not value.isprintable() or " " in value or _PLACEHOLDER.search(value):
        raise ValidationError("Enter a full URL, for example https://api.example.com/v1.")
    if "@" in parts.netloc:
        raise ValidationError("Enter the credential in its own field, not in the URL.")
    _check_path(parts)
    if "?" in value or "#" in value:
        raise ValidationError("Enter the base URL without a query or fragment.")


def _check_path(parts: SplitResult) -> None:
    """Raises ValidationError for an endpoint in place of the base URL, with the base URL."""
    path = parts.path.rstrip("/")
    ending, suffix = _ENDPOINT.search(path.lower()), ""
    if ending is None:
        ending, suffix = _OLLAMA_ENDPOINT.search(path.lower()), "/v1"
    if ending:
        base = f"{parts.scheme}://{parts.netloc}{path[: ending.start()]}{suffix}"
        raise ValidationError(
            f"Enter {base} as the base URL, without {ending[0]}: a request adds its own path."
        )


def _parts(value: str) -> SplitResult | None:
    """Return the parts of a URL that a client can connect to, or None."""
    try:
        parts = urlsplit(value)
        # As the client of the provider encodes an internationalized name.
        host = httpx2.URL(value).raw_host.decode().lower()
        is_url = parts.scheme in {"http", "https"} and parts.port != 0 and _is_host(host)
    except (ValueError, httpx2.InvalidURL):
        return None
    # A URL in a URL: https://https://api.example.com.
    return parts if is_url and parts.netloc.lower() not in {"http:", "https:"} else None


def _is_host(text: str) -> bool:
    """Return whether a text can be the host of a URL: a name or an IP address."""
    labels = text.removesuffix(".").split(".")
    if ":" in text or _NUMBER.fullmatch(labels[-1]):
        return parse_address(text) is not None
    return len(text) <= 254 and all(map(_LABEL.fullmatch, labels))
