"""Validation of responses against the committed OpenAPI document."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from tests.api import Answer

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
NDJSON = "application/x-ndjson"


@cache
def document() -> dict[str, Any]:
    """Return the committed document."""
    committed: dict[str, Any] = json.loads(COMMITTED.read_bytes())
    return committed


@cache
def operations() -> list[tuple[str, "re.Pattern[str]", str]]:
    """Return the method, the pattern of the path and the path of each operation."""
    return [
        (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path)
        for path, methods in document()["paths"].items()
        for method in methods
    ]


@cache
def schema(reference: str) -> jsonschema_rs.Validator:
    """Return the validator of the schema at this JSON pointer of the document."""
    root = {"$ref": f"#/document{quote(reference, safe='/~')}", "document": _rebased(document())}
    return jsonschema_rs.Draft202012Validator(root, validate_formats=True)


def _rebased(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: f"#/document{item[1:]}" if name == "$ref" else _rebased(item)
            for name, item in value.items()
        }
    return [_rebased(item) for item in value] if isinstance(value, list) else value


def check(method: str, path: str, response: Answer) -> None:
    """Fail if the document has the operation but not this response."""
    bare_path = path.partition("?")[0]
    names = [
        name
        for verb, pattern, name in operations()
        if verb == method and pattern.fullmatch(bare_path)
    ]
    if not names or response.status == 405:
        return
    if bare_path in names:
        names = [bare_path]  # which is not an ID
    (name,) = names
    documented = document()["paths"][name][method.lower()]["responses"]
    is_error = response.status >= 400 and b"error_code" in response.content
    if is_error and "/api/v1/" not in name:
        return  # a common error, which the document lists for the API only
    assert str(response.status) in documented, (
        f"{method} {path}: {response.status} is not documented"
    )
    content = documented[str(response.status)].get("content")
    if content is None:
        assert response.content == b""
        return
    if "text/csv" in content and response.headers["content-type"].startswith("text/csv;"):
        return
    is_lines = response.headers["content-type"] == NDJSON and NDJSON in content
    media_type = NDJSON if is_lines else "application/json"
    assert response.headers["content-type"] == media_type
    pointer = "/".join(
        part.replace("~", "~0").replace("/", "~1")
        for part in (name, method.lower(), "responses", str(response.status), "content")
    )
    media_type = media_type.replace("/", "~1")
    validator = schema(f"/paths/{pointer}/{media_type}/schema")
    for text in response.content.splitlines() if is_lines else [response.content]:
        validator.validate(json.loads(text))
