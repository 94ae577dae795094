"""The URL template of an HTTP tool: parsing, and the isolation of values."""

from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tools.invokers.url import InvalidValueError, Placeholder, UrlError, parse_url
from tools.outbound import Origin

HOST = "https://api.example.com"


def filled(url: str, **values: str) -> str:
    return parse_url(url).fill(lambda place: values[place.name])


@pytest.mark.parametrize(
    ("url", "origin", "path"),
    [
        (HOST, Origin("https", "api.example.com", 443), "/"),
        ("HTTP://API.Example.COM:8080/A", Origin("http", "api.example.com", 8080), "/A"),
        (f"{HOST}?a=b", Origin("https", "api.example.com", 443), "/?a=b"),
        (f"{HOST}/a?", Origin("https", "api.example.com", 443), "/a"),
        ("http://[2606:4700::1111]/", Origin("http", "2606:4700::1111", 80), "/"),
        ("http://[2606:4700:0:0::1111]:81/", Origin("http", "2606:4700::1111", 81), "/"),
        ("http://1.1.1.1/", Origin("http", "1.1.1.1", 80), "/"),
        ("http://xn--mnchen-3ya.de/", Origin("http", "xn--mnchen-3ya.de", 80), "/"),
        ("http://my_service/x", Origin("http", "my_service", 80), "/x"),
        (f"{HOST}/süß/a%20b|c?q=ö", Origin("https", "api.example.com", 443), None),
    ],
)
def test_a_url_is_parsed(url: str, origin: Origin, path: str | None) -> None:
    template = parse_url(url)
    assert template.origin == origin
    assert filled(url) == path or path is None
    assert filled(url).isascii()


BAD_HOSTS = (
    *("a..b", ".a", "a.", "a b", "a,b", "-a", "a-", "a" * 64, ".".join(["a" * 60] * 5)),
    *("256.1.1.1", "1.2.3", "1.2.3.0x1", "2130706433", "[1.2.3.4]", "[::g]", "https:"),
)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://",
        "api.example.com",
        f"{HOST}/{'a' * 2000}",
        f"{HOST}/a b",
        f"{HOST}/a\u3000b",
        f"{HOST}/a\u202eb",
        f"{HOST}/a#b",
        f"{HOST}/a\\b",
        f"{HOST}/a%",
        f"{HOST}/a%2",
        f"{HOST}/a%2{{x}}",
        f"{HOST}/{{",
        f"{HOST}/}}",
        f"{HOST}/{{}}",
        f"{HOST}/{{a b}}",
        f"{HOST}/{{{{secret.}}}}",
        f"{HOST}/{{{{secret.a b}}}}",
        f"{HOST}/{{{{a}}}}",
        f"{HOST}/a/../b",
        f"{HOST}/a/./b",
        f"{HOST}/..",
        f"{HOST}/%2e%2E/b",
        "https://münchen.de/",
        *(f"http://{host}/" for host in BAD_HOSTS),
    ],
)
def test_an_invalid_url_is_rejected(url: str) -> None:
    with pytest.raises(UrlError):
        parse_url(url)


def test_placeholders_of_arguments_and_secrets() -> None:
    url = f"{HOST}/{{{{secret.realm}}}}/users/{{id}}.json?key={{{{secret.key}}}}&q={{q}}"
    assert list(parse_url(url).placeholders()) == [
        Placeholder("realm", True),
        Placeholder("id", False),
        Placeholder("key", True),
        Placeholder("q", False),
    ]
    assert (
        filled(url, realm="a/b", id="ü&x", key="k=v", q="a b")
        == "/a%2Fb/users/%C3%BC%26x.json?key=k%3Dv&q=a%20b"
    )
    assert parse_url(url).query_names() == {"key", "q"}


@pytest.mark.parametrize(
    "value",
    ["", ".", "..", "../x", "x/../y", "x\\..\\y", "%2e%2e", "%252e%252e/x", "..;/x", "a/..", "\0"],
)
def test_values_cannot_leave_their_folder_in_the_path(value: str) -> None:
    with pytest.raises(InvalidValueError) as refusal:
        filled(f"{HOST}/users/{{id}}/mail", id=value)
    assert not value.strip("./\\") or value not in str(refusal.value)


@pytest.mark.parametrize("values", [("", "."), (".", "."), ("%", "2e")])
def test_two_values_do_not_form_a_dot_segment(values: tuple[str, str]) -> None:
    with pytest.raises(InvalidValueError):
        filled(f"{HOST}/.{{a}}{{b}}/x", a=values[0], b=values[1])


@given(st.text(), st.text())
@example("a@b:80/../..", "?#&=;")
def test_values_do_not_change_the_rest_of_the_url(in_path: str, in_query: str) -> None:
    assume(in_path)
    try:
        target = filled(f"{HOST}/a/{{x}}/b?c={{y}}&d=e", x=in_path, y=in_query)
    except (InvalidValueError, UnicodeEncodeError):
        return
    assert target.isascii()
    assert target.isprintable()
    assert " " not in target
    parts = urlsplit(f"{HOST}{target}")
    assert parts.netloc == "api.example.com"
    assert not parts.fragment
    first, a, value, b = parts.path.split("/")
    assert (first, a, unquote(value), b) == ("", "a", in_path, "b")
    pairs = [pair.split("=") for pair in parts.query.split("&")]
    assert [[name, unquote(text)] for name, text in pairs] == [["c", in_query], ["d", "e"]]


@given(st.text(max_size=60))
@example("http://a{b}@c/")
def test_any_text_is_parsed_or_rejected(text: str) -> None:
    for url in (text, f"http://{text}", f"{HOST}/{text}", f"{HOST}?{text}"):
        try:
            template: Any = parse_url(url)
        except UrlError:
            continue
        assert template.origin.scheme in {"http", "https"}
        assert template.origin.host.isascii()
        assert not set(template.origin.host) & set("@/?#\\{}% ")
