"""The result of a call of the kind `http`: the body of the response, as text without secrets."""

import webencodings

from tools.invokers.base import ToolError
from tools.outbound import Response
from tools.redaction import SecretRedactor

MAX_RESULT_BYTES = 64 * 1024
MAX_LOCATION_CHARACTERS = 500
MAX_RETRY_AFTER_CHARACTERS = 100

_REDIRECTS = {301, 302, 303, 307, 308}
_BINARY_PREFIXES = ("image/", "audio/", "video/", "font/")
_BINARY_TYPES = {"application/pdf", "application/zip", "application/gzip"}
# The type says nothing about the body, which may be text.
_UNSPECIFIC_TYPES = {"", "application/octet-stream", "binary/octet-stream"}
_UTF_8 = webencodings.UTF8


def result(response: Response, redactor: SecretRedactor) -> str:
    """Return the text for the model. Raises ToolError for any status but 2xx."""
    if 200 <= response.status < 300:
        text = _body_text(response, redactor)
        return text or f"(The response is empty: HTTP {response.status}.)"
    retry_after = _header(response, "retry-after", redactor, MAX_RETRY_AFTER_CHARACTERS)
    status = f"HTTP {response.status}" + (f" (Retry-After: {retry_after})" if retry_after else "")
    raise ToolError(f"http_{response.status}", f"{status}: {_failure_text(response, redactor)}")


def _failure_text(response: Response, redactor: SecretRedactor) -> str:
    if response.status in _REDIRECTS:
        location = _header(response, "location", redactor, MAX_LOCATION_CHARACTERS)
        target = location or "another URL"
        return f"The server redirects to {target}, and redirects are not followed."
    if response.status == 304:
        return "Not modified: the server sent no content."
    try:
        return _body_text(response, redactor) or "(no text)"
    except ToolError:
        return "(no text)"


def _header(response: Response, name: str, redactor: SecretRedactor, limit: int) -> str:
    value = response.headers.get(name, "")
    return redactor.redact(value, limit) + ("…" if len(value) > limit else "")


def _body_text(response: Response, redactor: SecretRedactor) -> str:
    """Return at most `MAX_RESULT_BYTES` of the body as text, and a note if it is cut. Raises ToolError."""
    # Redacted, because it may be quoted.
    content_type = redactor.redact(response.headers.get("content-type", ""))
    media_type, *parameters = (part.strip() for part in content_type.lower().split(";"))
    if media_type.startswith(_BINARY_PREFIXES) or media_type in _BINARY_TYPES:
        raise ToolError("not_text", f"The response is not text, but {media_type[:100]}.")
    encoding = _encoding(parameters)
    text = _decoded(response, encoding, is_text=media_type not in _UNSPECIFIC_TYPES)
    if len(response.body) <= MAX_RESULT_BYTES and not response.is_truncated:
        return redactor.redact(text)
    # The decoder leaves out an incomplete last character.
    first = webencodings.IncrementalDecoder(encoding).decode(response.body[:MAX_RESULT_BYTES])
    note = f"\n[cut here: only the first {MAX_RESULT_BYTES} bytes of the response are shown]"
    return redactor.redact(text, len(first)) + note


def _encoding(parameters: list[str]) -> webencodings.Encoding:
    """Return the encoding that the charset names by the Encoding Standard, else UTF-8."""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "charset" and (found := webencodings.lookup(value.strip("\"' "))):
            # The Standard decodes GBK as its superset.
            return webencodings.lookup("gb18030") if found.name == "gbk" else found
    return _UTF_8


def _decoded(response: Response, encoding: webencodings.Encoding, *, is_text: bool) -> str:
    """Return the body as text, without a byte order mark, which has precedence over the encoding."""
    decoder = webencodings.IncrementalDecoder(encoding, "replace" if is_text else "strict")
    try:
        text: str = decoder.decode(response.body, final=not response.is_truncated)
    except UnicodeDecodeError:
        raise ToolError("not_text", "The response is not text.") from None
    if "\0" in text and not is_text:
        raise ToolError("not_text", "The response is not text.")
    return text
