"""Secrets are removed from text, in each encoding in which a server is likely to repeat them."""

import base64
import html
import json
import string
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cpu_time import growth
from tools.redaction import PLACEHOLDER, SecretRedactor

SECRET = 'p@ss/w "ö"rd+&<7>'.replace("ö", "o")
_PRINTABLE = st.text(alphabet=string.printable[:95], min_size=1, max_size=40).map(str.strip)
_SECRETS = _PRINTABLE.filter(bool)


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").replace("%2F", "%2f").replace("%40", "%40").lower(),
        quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET)[1:-1],
        html.escape(SECRET),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
    ],
)
def test_each_encoding_is_found(form: str) -> None:
    text = SecretRedactor([SECRET]).redact(f"before {form} after")
    assert form not in text
    assert SECRET not in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert PLACEHOLDER in text


@given(
    _SECRETS.filter(lambda secret: len(secret) >= 8), st.binary(max_size=9), st.binary(max_size=9)
)
def test_it_is_found_in_the_base64_of_a_longer_text(
    secret: str, before: bytes, after: bytes
) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    redacted = SecretRedactor([secret]).redact(encoded)
    rest = redacted.replace(PLACEHOLDER, "")
    # A character at each end may hold a few bits of it.
    assert len(rest) * 6 <= (len(before) + len(after)) * 8 + 6 * 6
    assert PLACEHOLDER in redacted


@given(st.lists(_SECRETS, max_size=4), st.text(max_size=80), st.data())
def test_no_secret_remains(secrets: list[str], text: str, data: st.DataObject) -> None:
    for secret in secrets:
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + secret + text[at:]
    redacted = SecretRedactor(secrets).redact(text)
    pieces = redacted.split(PLACEHOLDER)
    assert not [secret for secret in secrets for piece in pieces if secret in piece]


@given(_SECRETS, st.integers(0, 60), st.integers(0, 60))
def test_a_secret_at_the_limit_is_replaced_as_a_whole(secret: str, before: int, limit: int) -> None:
    text = SecretRedactor([secret]).redact("\u00a7" * before + secret + "\u00a7" * 60, limit)
    assert text.replace(PLACEHOLDER, "").strip("\u00a7") == ""
    assert text.count("\u00a7") <= limit


def test_a_secret_that_begins_with_another_is_replaced_as_a_whole() -> None:
    assert SecretRedactor(["abc", "abcdef"]).redact("abcdef abc") == f"{PLACEHOLDER} {PLACEHOLDER}"


def test_overlapping_secrets_are_both_replaced() -> None:
    assert SecretRedactor(["abc", "bcd"]).redact("xabcdx") == f"x{PLACEHOLDER}x"
    assert SecretRedactor(["aa", "ab"]).redact("aab") == PLACEHOLDER


def test_the_time_for_secrets_with_a_common_prefix_grows_in_proportion() -> None:
    def redaction(size: int) -> Callable[[], None]:
        redactor = SecretRedactor("a" * size + f"/+ <>&{number}z" for number in range(20))
        text = "a" * size * 20

        def redact() -> None:
            assert redactor.redact(text) == text

        return redact

    assert growth(redaction, 500) < 24


def test_without_secrets_the_text_is_unchanged() -> None:
    assert SecretRedactor([]).redact("as it is") == "as it is"
    assert SecretRedactor([]).redact("as it is", 2) == "as"
