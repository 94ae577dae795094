"""Error messages that say what to send instead, where that is certain."""

import bz2
import gzip
import json
import lzma
import zlib
from typing import Any

import pytest

from tests.api import Api
from tests.contract.writes import AGENT, RUN, TOOL, Rows

JSON_HEADER = "Content-Type: application/json"


@pytest.mark.parametrize(
    ("path", "body", "field", "hint"),
    [
        ("agents/{agent}/run", RUN, "messages", "Did you mean prompt?"),
        ("agents/{agent}/run", RUN, "input", "Did you mean prompt?"),
        ("agents/{agent}/run", RUN, "Model", "Did you mean model?"),
        ("agents/{agent}/run", RUN, "promt", "Did you mean prompt?"),
        ("agents/{agent}/run", RUN, "temperature", "settings of the agent"),
        ("agents", AGENT, "tools", "Did you mean tool_ids?"),
        ("agents", AGENT, "toolIds", "Did you mean tool_ids?"),
        ("agents", AGENT, "system_prompt", "name, role, description and tools"),
        ("agents", AGENT, "max_tokens", "a field of settings"),
        ("tools", TOOL, "function", "as fields of the tool"),
        ("tools", TOOL, "type", "Did you mean kind?"),
        ("tools", TOOL, "inputSchema", "Did you mean parameters?"),
        ("tools", TOOL, "url", "a field of http"),
        ("tools", TOOL, "discription", "Did you mean description?"),
    ],
)
def test_an_unknown_field_has_a_hint(
    own_rows: Rows, path: str, body: dict[str, Any], field: str, hint: str
) -> None:
    url = path.format(agent=own_rows.agent.pk)
    response = own_rows.api.post(url, {**body, field: "x"})
    (message,) = response.fields[field]
    assert message.startswith("Unknown field. ")
    assert hint in message


@pytest.mark.parametrize("field", ["x", "color", "id", "created_at", "n" * 41, "name" * 1000, ""])
def test_an_uncertain_field_has_none(api: Api, field: str) -> None:
    assert api.post("tools", {**TOOL, field: "x"}).fields[field] == ["Unknown field."]


@pytest.mark.parametrize(
    ("path", "suggestion"),
    [
        ("/api/v1/tools/", "/api/v1/tools"),
        ("/api/v1/agents/x/run/", "/api/v1/agents/x/run"),
        ("/tools", "/api/v1/tools"),
        ("/agents/x/run/", "/api/v1/agents/x/run"),
        ("/history", "/api/v1/history"),
        ("/nowhere/", ""),
        ("/api/v1/", ""),
        ("/api/v1/nowhere", ""),
        ("/health/", ""),
        ("/tools/" + "x" * 300, ""),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_path_has_a_suggestion(
    api: Api, method: str, path: str, suggestion: str
) -> None:
    response = api.call(method, path)
    assert (response.status, response.error_code) == (404, "NOT_FOUND")
    _, _, found = response.json["message"].partition("Did you mean ")
    assert found.rstrip("?") == suggestion


@pytest.mark.parametrize(
    ("path", "headers", "hint"),
    [
        ("tools", {"Authorization": "tenant-a-key"}, "Bearer <key>"),
        ("tools", {"Authorization": "Basic YTpi"}, "Bearer <key>"),
        ("tools", {"api-key": "tenant-a-key"}, "The header api-key is not used."),
        ("tools", {"X-Auth-Token": "tenant-a-key"}, "The header x-auth-token is not used."),
        ("tools?api_key=tenant-a-key", {}, "in URLs"),
        ("tools", {"X-API-KEY": "Bearer tenant-a-key"}, 'second "Bearer"'),
        ("tools", {"Authorization": "Bearer Bearer x"}, 'second "Bearer"'),
        ("tools", {}, "Send it in the X-API-KEY header."),
    ],
)
def test_a_key_in_the_wrong_place_has_a_hint(path: str, headers: dict[str, str], hint: str) -> None:
    response = Api().get(path, headers=headers)
    assert response.status == 401
    assert hint in response.json["message"]
    assert "tenant-a-key" not in response.content.decode()


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""]
)
def test_the_header_for_json_is_named(api: Api, content_type: str) -> None:
    body = json.dumps(TOOL).encode()
    response = api.post("tools", raw=body, headers={"Content-Type": content_type})
    assert (response.status, response.error_code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert JSON_HEADER in response.json["message"]


TEXT = json.dumps({**TOOL, "description": "é"}, ensure_ascii=False)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (TEXT.encode("latin-1"), "not UTF-8: the byte at position"),
        (TEXT.encode("utf-16"), "The body is UTF-16."),
        (TEXT.encode("utf-32"), "The body is UTF-32."),
        (TEXT.encode("utf-8-sig"), "byte order mark"),
        (TEXT.encode("utf-16-le"), "The body is UTF-16."),
        (TEXT.encode("utf-16-be"), "The body is UTF-16."),
        (TEXT.encode("utf-32-le"), "The body is UTF-32."),
        (TEXT.encode("utf-32-be"), "The body is UTF-32."),
        (gzip.compress(TEXT.encode(), mtime=0), "compressed with gzip"),
        *(
            (zlib.compress(TEXT.encode(), level), "compressed with deflate")
            for level in (0, 1, 6, 9)
        ),
        (b"\x28\xb5\x2f\xfd\x04\x00", "compressed with zstd"),
        (bz2.compress(TEXT.encode()), "compressed with bzip2"),
        (lzma.compress(TEXT.encode()), "compressed with xz"),
        (" \n[".encode("utf-16-be"), "The body is UTF-16."),
        ('{"a": "日本語'.encode("utf-16-le"), "The body is UTF-16."),
        # A text with NUL characters, or one that begins like a compressed one.
        (b'\0{"name": "a"}', "not valid JSON"),
        (b'{\0"name": "a"}', "not valid JSON"),
        (b"\0", "not valid JSON"),
        (bytes(8), "not valid JSON"),
        (b"x^2", "not valid JSON"),
        (b"BZh", "not valid JSON"),
        (b'{"name": "\xed\xa0\x80"}', "not UTF-8: the byte at position 10"),
        (b'{"name": "\\ud800"}', "not valid JSON"),
        (b"\xff", "position 0"),
    ],
)
def test_another_encoding_is_named(own_rows: Rows, body: bytes, message: str) -> None:
    for path in ("tools", f"agents/{own_rows.agent.pk}/run"):
        response = own_rows.api.post(path, raw=body)
        assert (response.status, response.error_code) == (400, "MALFORMED_JSON")
        assert message in response.json["message"]


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "identity, gzip"])
def test_a_content_encoding_is_refused(api: Api, encoding: str) -> None:
    body = gzip.compress(TEXT.encode())
    response = api.post("tools", raw=body, headers={"Content-Encoding": encoding})
    assert (response.status, response.error_code) == (415, "UNSUPPORTED_MEDIA_TYPE")
    assert response.headers["accept-encoding"] == "identity"
    assert "uncompressed" in response.json["message"]


@pytest.mark.parametrize("encoding", ["identity", "Identity", ""])
def test_no_encoding_is_accepted(own_rows: Rows, encoding: str) -> None:
    response = own_rows.api.post("tools", TOOL, headers={"Content-Encoding": encoding})
    assert response.status in {201, 400}
    assert response.status == 201 or response.error_code == "DUPLICATE_TOOL_NAME"
