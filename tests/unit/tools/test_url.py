"""The URL of an HTTP tool: what is taken for one, and that no value gets out of its place."""

from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tools.invokers.url import Place, UrlError, ValueRefused, parsed_url
from tools.outbound import Target

HOST = "https://api.example.com"


def filled(url: str, **values: str) -> str:
    return parsed_url(url).filled(lambda place: values[place.name])


@pytest.mark.parametrize(
    ("url", "target", "path"),
    [
        (HOST, Target("https", "api.example.com", 443), "/"),
        ("HTTP://API.Example.COM:8080/A", Target("http", "api.example.com", 8080), "/A"),
        (f"{HOST}?a=b", Target("https", "api.example.com", 443), "/?a=b"),
        (f"{HOST}/a?", Target("https", "api.example.com", 443), "/a"),
        ("http://[2606:4700::1111]/", Target("http", "2606:4700::1111", 80), "/"),
        ("http://[2606:4700:0:0::1111]:81/", Target("http", "2606:4700::1111", 81), "/"),
        ("http://1.1.1.1/", Target("http", "1.1.1.1", 80), "/"),
        ("http://xn--mnchen-3ya.de/", Target("http", "xn--mnchen-3ya.de", 80), "/"),
        ("http://my_service/x", Target("http", "my_service", 80), "/x"),
        (f"{HOST}/süß/a%20b|c?q=ö", Target("https", "api.example.com", 443), None),
    ],
)
def test_a_url_is_taken_apart(url: str, target: Target, path: str | None) -> None:
    found = parsed_url(url)
    assert found.target == target
    assert filled(url) == path or path is None
    assert filled(url).isascii()


def test_what_the_host_header_says() -> None:
    assert Target("http", "a.test", 80).authority == "a.test"
    assert Target("https", "a.test", 80).authority == "a.test:80"
    assert Target("https", "2606:4700::1111", 443).authority == "[2606:4700::1111]"


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
    ],
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(UrlError):
        parsed_url(url)


def test_places_of_arguments_and_secrets() -> None:
    url = f"{HOST}/{{{{secret.realm}}}}/users/{{id}}.json?key={{{{secret.key}}}}&q={{q}}"
    assert list(parsed_url(url).places()) == [
        Place("realm", True),
        Place("id", False),
        Place("key", True),
        Place("q", False),
    ]
    assert (
        filled(url, realm="a/b", id="ü&x", key="k=v", q="a b")
        == "/a%2Fb/users/%C3%BC%26x.json?key=k%3Dv&q=a%20b"
    )
    assert parsed_url(url).query_names() == {"key", "q"}


@pytest.mark.parametrize(
    "value",
    ["", ".", "..", "../x", "x/../y", "x\\..\\y", "%2e%2e", "%252e%252e/x", "..;/x", "a/..", "\0"],
)
def test_no_value_leads_up_the_path(value: str) -> None:
    with pytest.raises(ValueRefused) as refusal:
        filled(f"{HOST}/users/{{id}}/mail", id=value)
    assert not value.strip("./\\") or value not in str(refusal.value)


@pytest.mark.parametrize("values", [("", "."), (".", "."), ("%", "2e")])
def test_nor_do_two_of_them(values: tuple[str, str]) -> None:
    with pytest.raises(ValueRefused):
        filled(f"{HOST}/.{{a}}{{b}}/x", a=values[0], b=values[1])


@given(st.text(), st.text())
@example("a@b:80/../..", "?#&=;")
def test_whatever_the_values_the_rest_stays(in_path: str, in_query: str) -> None:
    assume(in_path)
    try:
        found = filled(f"{HOST}/a/{{x}}/b?c={{y}}&d=e", x=in_path, y=in_query)
    except (ValueRefused, UnicodeEncodeError):
        return
    assert found.isascii()
    assert found.isprintable()
    assert " " not in found
    parts = urlsplit(f"{HOST}{found}")
    assert parts.netloc == "api.example.com"
    assert not parts.fragment
    first, a, value, b = parts.path.split("/")
    assert (first, a, unquote(value), b) == ("", "a", in_path, "b")
    pairs = [pair.split("=") for pair in parts.query.split("&")]
    assert [[name, unquote(text)] for name, text in pairs] == [["c", in_query], ["d", "e"]]


@given(st.text(max_size=60))
@example("http://a{b}@c/")
def test_any_text_is_a_url_or_is_refused(text: str) -> None:
    for url in (text, f"http://{text}", f"{HOST}/{text}", f"{HOST}?{text}"):
        try:
            found: Any = parsed_url(url)
        except UrlError:
            continue
        assert found.target.scheme in {"http", "https"}
        assert found.target.host.isascii()
        assert not set(found.target.host) & set("@/?#\\{}% ")
