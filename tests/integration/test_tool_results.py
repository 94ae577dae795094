"""Responses of a tool's server as a model reads them: encodings, compression and failures."""

import gzip
import ipaddress
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import LazySettings

from tests.tool_calls import result_of
from tests.tool_server import tool_server

SECRET = "correct-horse/battery+staple"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with tool_server() as found:
        yield found


@pytest.fixture(autouse=True)
def base(port: int, settings: LazySettings) -> str:
    """Return the URL of the server, and allow tools to reach it."""
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    return f"http://127.0.0.1:{port}"


def typed(content_type: str) -> list[tuple[str, str]]:
    return [("Content-Type", content_type)]


class TestEncodings:
    """The labels of the Encoding Standard."""

    @pytest.mark.parametrize(
        ("label", "codec", "text"),
        [
            ("latin1", "cp1252", "süß €"),
            ("iso-8859-1", "cp1252", "“süß” €"),
            ("ISO8859-1", "cp1252", "€"),
            ("us-ascii", "cp1252", "é"),
            ("ascii", "cp1252", "é"),
            ("cp1252", "cp1252", "€"),
            ("x-cp1252", "cp1252", "€"),
            ("windows-1252", "cp1252", "€"),
            ("latin5", "cp1254", "ğ"),
            ("iso-8859-9", "cp1254", "ğ €"),
            ("l9", "iso8859-15", "€"),
            ("iso-8859-2", "iso8859-2", "čšž"),
            ("cp1250", "cp1250", "čšž"),
            ("windows-1251", "cp1251", "привет"),
            ("koi8-r", "koi8-r", "привет"),
            ("koi8", "koi8-r", "привет"),
            ("koi8-ru", "koi8-u", "привіт"),
            ("ibm866", "cp866", "привет"),
            ("greek", "iso8859-7", "γειά"),
            ("hebrew", "iso8859-8", "שלום"),
            ("tis-620", "cp874", "สวัสดี"),
            ("gb2312", "gbk", "你好"),
            ("gb_2312-80", "gbk", "朱镕基"),
            ("gbk", "gb18030", "你好 €㐀"),
            ("gb18030", "gb18030", "你好😀"),
            ("big5", "big5hkscs", "你好"),
            ("big5-hkscs", "big5hkscs", "你好"),
            ("shift_jis", "cp932", "こんにちは①"),
            ("x-sjis", "cp932", "こんにちは"),
            ("windows-31j", "cp932", "髙①"),
            ("euc-jp", "euc-jp", "こんにちは"),
            ("iso-2022-jp", "iso2022-jp", "こんにちは"),
            ("euc-kr", "cp949", "안녕 똠"),
            ("ks_c_5601-1987", "cp949", "안녕"),
            ("macintosh", "mac-roman", "é"),
            ("utf8", "utf-8", "süß 😀"),
            ("unicode-1-1-utf-8", "utf-8", "süß"),
            ("utf-16", "utf-16-le", "süß 😀"),
            ("utf-16be", "utf-16-be", "süß 😀"),
            ("UTF-8", "utf-8", "süß"),
            # Not in the Standard.
            ("utf-7", "utf-8", "süß"),
            ("punycode", "utf-8", "süß"),
            ("none", "utf-8", "süß"),
            ("", "utf-8", "süß"),
        ],
    )
    @pytest.mark.parametrize("media_type", ["text/plain", "application/json"])
    def test_a_label_names_its_encoding(
        self, base: str, media_type: str, label: str, codec: str, text: str
    ) -> None:
        headers = typed(f"{media_type}; charset={label}")
        result = result_of(base, f'{{"a":"{text}"}}'.encode(codec), headers=headers)
        assert (result.error, result.text) == (None, f'{{"a":"{text}"}}')

    @pytest.mark.parametrize(
        "content_type",
        [
            'text/plain;charset="latin1"',
            "Text/Plain;  CHARSET = Latin1 ",
            "text/plain; format=flowed; charset=latin1; x=y",
            "text/plain; charset='latin1'",
        ],
    )
    def test_the_parameter_may_be_written_in_many_ways(self, base: str, content_type: str) -> None:
        assert result_of(base, "süß".encode("latin-1"), headers=typed(content_type)).text == "süß"

    @pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-be"])
    @pytest.mark.parametrize(
        "content_type",
        ["text/plain; charset=latin1", "application/json", "application/octet-stream", ""],
    )
    def test_a_byte_order_mark_wins_and_is_dropped(
        self, base: str, content_type: str, codec: str
    ) -> None:
        mark = "\ufeff" if codec == "utf-16-be" else ""
        headers = typed(content_type) if content_type else ()
        result = result_of(base, f'{mark}{{"a":"süß"}}'.encode(codec), headers=headers)
        assert (result.error, result.text) == (None, '{"a":"süß"}')

    def test_a_long_body_is_cut_between_two_characters(self, base: str) -> None:
        body = gzip.compress(b"\xef\xbb\xbf" + "aé".encode() * 30_000)
        headers = [*typed("text/plain; charset=latin1"), ("Content-Encoding", "gzip")]
        text, _, note = result_of(base, body, headers=headers).text.partition("\n")
        assert text == ("aé" * 30_000)[: len(text)]
        assert 65530 < len(text.encode()) <= 65536
        assert "65536 bytes" in note


class TestTypes:
    """Bodies without a specific type are text if they decode."""

    @pytest.mark.parametrize(
        "content_type",
        ["", "application/octet-stream", "binary/octet-stream", "text/plain", "text/html"],
    )
    @pytest.mark.parametrize("text", ['{"a": "süß"}', "plain", ""])
    def test_text_is_read(self, base: str, content_type: str, text: str) -> None:
        headers = typed(content_type) if content_type else ()
        result = result_of(base, text.encode(), headers=headers)
        assert (result.error, result.text) == (None, text or "(The response is empty: HTTP 200.)")

    def test_a_charset_is_respected(self, base: str) -> None:
        headers = typed("application/octet-stream; charset=shift_jis")
        assert result_of(base, "こん".encode("cp932"), headers=headers).text == "こん"

    @pytest.mark.parametrize("content_type", ["", "application/octet-stream"])
    @pytest.mark.parametrize("body", [b"\x89PNG\r\n\x1a\n", b"\0\1\2\3", b"PK\3\4\xff"])
    def test_anything_else_is_refused(self, base: str, content_type: str, body: bytes) -> None:
        headers = typed(content_type) if content_type else ()
        assert result_of(base, body, headers=headers).error == "not_text"

    def test_a_long_text_may_be_cut_in_a_character(self, base: str) -> None:
        headers = [*typed("application/octet-stream"), ("Content-Encoding", "gzip")]
        result = result_of(base, gzip.compress("é".encode() * 50_000), headers=headers)
        assert result.error is None
        assert result.text.startswith("é" * 32768 + "\n[cut")
        odd = result_of(base, gzip.compress(b"a" + "é".encode() * 50_000), headers=headers)
        assert odd.text.startswith("a" + "é" * 32767 + "\n[cut")

    def test_the_status_of_a_failure_is_told_whatever_its_body_is(self, base: str) -> None:
        result = result_of(base, b"\x89PNG", 500, typed("image/png"))
        assert (result.error, result.text) == ("http_500", "HTTP 500: (no text)")


def gzipped(body: bytes) -> bytes:
    """Return the body in a gzip file without a time, since the bytes are part of the test's name."""
    return gzip.compress(body, mtime=0)


def deflated(content: bytes, window_bits: int) -> bytes:
    compressor = zlib.compressobj(wbits=window_bits)
    return compressor.compress(content) + compressor.flush()


class TestCompression:
    """Compressed responses, which are not requested."""

    @pytest.mark.parametrize(
        ("coding", "window_bits"),
        [
            ("gzip", 31),
            ("x-gzip", 31),
            ("GZip", 31),
            ("identity, gzip", 31),
            ("deflate", 15),
            ("deflate", -15),
        ],
    )
    @pytest.mark.parametrize("status", [200, 404])
    def test_they_are_decoded(self, base: str, coding: str, window_bits: int, status: int) -> None:
        body = deflated('{"a": "süß"}'.encode(), window_bits)
        headers = [*typed("application/json"), ("Content-Encoding", coding)]
        result = result_of(base, body, status, headers)
        assert result.text.endswith('{"a": "süß"}')
        assert result.error == (None if status == 200 else "http_404")

    def test_they_may_arrive_in_small_chunks(self, base: str) -> None:
        body = deflated(b"hello", -15)
        chunks = b"".join(b"1\r\n" + bytes([byte]) + b"\r\n" for byte in body) + b"0\r\n\r\n"
        headers = [("Content-Encoding", "deflate"), ("Transfer-Encoding", "chunked")]
        assert result_of(base, chunks, headers=headers).text == "hello"

    def test_an_empty_body_is_no_error(self, base: str) -> None:
        result = result_of(base, b"", 204, [("Content-Encoding", "gzip")])
        assert (result.error, result.text) == (None, "(The response is empty: HTTP 204.)")

    @pytest.mark.parametrize(
        ("coding", "body"),
        [
            ("gzip", gzipped(b"\0" * 20_000_000)),
            ("deflate", deflated(b"a" * 20_000_000, 15)),
            ("deflate", deflated(b"a" * 20_000_000, -15)),
            ("gzip", gzipped(gzipped(b"x"))[:-4]),
            ("gzip", b"not compressed at all"),
            ("deflate", b"not compressed at all"),
            ("gzip", b"\x1f"),
            ("gzip", gzipped(b"first") + gzipped(b"second")),
            ("br", b"\x0b\x02\x80hello\x03"),
            ("zstd", b"\x28\xb5\x2f\xfd"),
            ("gzip, gzip", gzipped(gzipped(b"x"))),
            ("aws-chunked", b"x"),
        ],
    )
    def test_what_cannot_be_decoded_is_refused(self, base: str, coding: str, body: bytes) -> None:
        headers = [*typed("text/plain"), ("Content-Encoding", coding)]
        result = result_of(base, body, headers=headers)
        assert result.error == "bad_answer", result.text[:200]
        assert result.text.startswith("The server's response cannot be used: ")

    def test_a_long_text_is_cut_like_any_other(self, base: str) -> None:
        text = "".join(f"line {number}\n" for number in range(20_000))
        headers = [*typed("text/plain"), ("Content-Encoding", "gzip")]
        result = result_of(base, gzip.compress(text.encode()), headers=headers)
        assert result.error is None
        assert result.text.startswith(text[:65536])
        assert result.text.endswith("bytes of the response are shown]")

    def test_secrets_in_them_are_redacted(self, base: str) -> None:
        headers = [*typed("text/plain"), ("Content-Encoding", "gzip")]
        body = gzip.compress(f"it is {SECRET}".encode())
        result = result_of(base, body, headers=headers, secret_values={"a": SECRET})
        assert result.text == "it is [secret]"


class TestFailures:
    """What a model reads of a redirect and of a server that asks to wait."""

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    @pytest.mark.parametrize("location", ["https://a.test/b?c=d", "/b", ""])
    def test_a_redirect_shows_its_target(self, base: str, status: int, location: str) -> None:
        result = result_of(base, b"moved", status, [("Location", location)] if location else ())
        target = location or "another URL"
        assert result.error == f"http_{status}"
        assert result.text == (
            f"HTTP {status}: The server redirects to {target}, and redirects are not followed."
        )

    @pytest.mark.parametrize("status", [300, 304, 305, 399])
    def test_other_statuses_from_300_are_no_redirects(self, base: str, status: int) -> None:
        result = result_of(base, b"", status)
        assert result.error == f"http_{status}"
        assert "redirect" not in result.text

    @pytest.mark.parametrize("status", [429, 503, 413, 302])
    @pytest.mark.parametrize("value", ["30", "Wed, 21 Oct 2026 07:28:00 GMT"])
    def test_the_time_to_wait_is_shown(self, base: str, status: int, value: str) -> None:
        result = result_of(base, b"slow down", status, [("Retry-After", value)])
        assert result.text.startswith(f"HTTP {status} (Retry-After: {value}): ")
        assert result.error == f"http_{status}"

    def test_a_success_does_not_show_it(self, base: str) -> None:
        assert result_of(base, b"fine", 202, [("Retry-After", "30")]).text == "fine"

    @pytest.mark.parametrize(("name", "status"), [("Location", 302), ("Retry-After", 429)])
    def test_headers_are_redacted_and_bounded(self, base: str, name: str, status: int) -> None:
        value: Any = f"https://a.test/?k={SECRET}&{'x' * 5_000}"
        result = result_of(base, b"", status, [(name, value)], secret_values={"a": SECRET})
        assert "[secret]" in result.text
        assert "battery" not in result.text
        assert len(result.text) < 700

    def test_a_secret_at_the_bound_is_redacted_as_a_whole(self, base: str) -> None:
        value = "x" * 490 + SECRET + "y" * 100
        text = result_of(base, b"", 302, [("Location", value)], secret_values={"a": SECRET}).text
        assert "[secret]" in text
        assert SECRET[:6] not in text
