"""Secrets are taken out of texts, in every form in which a server is likely to say them again."""

import base64
import html
import json
import string
import time
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.blotting import BLOT, Blotter

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
def test_each_form_is_found(form: str) -> None:
    text = Blotter([SECRET])(f"before {form} after")
    assert form not in text
    assert SECRET not in text
    assert text.startswith("before ")
    assert text.endswith(" after")
    assert BLOT in text


@given(
    _SECRETS.filter(lambda secret: len(secret) >= 8), st.binary(max_size=9), st.binary(max_size=9)
)
def test_it_is_found_within_a_longer_text_in_base64(
    secret: str, before: bytes, after: bytes
) -> None:
    encoded = base64.b64encode(before + secret.encode() + after).decode()
    blotted = Blotter([secret])(encoded)
    left = blotted.replace(BLOT, "")
    # A character at each end may hold a few bits of it.
    assert len(left) * 6 <= (len(before) + len(after)) * 8 + 6 * 6
    assert BLOT in blotted


@given(st.lists(_SECRETS, max_size=4), st.text(max_size=80), st.data())
def test_no_secret_stays(secrets: list[str], text: str, data: st.DataObject) -> None:
    for secret in secrets:
        at = data.draw(st.integers(0, len(text)))
        text = text[:at] + secret + text[at:]
    blotted = Blotter(secrets)(text)
    pieces = blotted.split(BLOT)
    assert not [secret for secret in secrets for piece in pieces if secret in piece]


@given(_SECRETS, st.integers(0, 60), st.integers(0, 60))
def test_none_is_cut_in_two(secret: str, before: int, limit: int) -> None:
    text = Blotter([secret])("\u00a7" * before + secret + "\u00a7" * 60, limit)
    assert text.replace(BLOT, "").strip("\u00a7") == ""
    assert text.count("\u00a7") <= limit


def test_one_that_begins_with_another_goes_as_a_whole() -> None:
    assert Blotter(["abc", "abcdef"])("abcdef abc") == f"{BLOT} {BLOT}"


def test_two_that_overlap_go_both() -> None:
    assert Blotter(["abc", "bcd"])("xabcdx") == f"x{BLOT}x"
    assert Blotter(["aa", "ab"])("aab") == BLOT


def test_hostile_secrets_in_a_hostile_text_take_no_time() -> None:
    secrets = ["a" * 4000 + f"/+ <>&{number}z" for number in range(20)]
    started = time.thread_time()
    text = "a" * 80_000
    assert Blotter(secrets)(text) == text
    assert time.thread_time() - started < 0.5


def test_without_secrets_nothing_happens() -> None:
    assert Blotter([])("as it is") == "as it is"
    assert Blotter([])("as it is", 2) == "as"
