"""The OpenAPI document as a judge: whether an answer is one that it promises."""

import json
import re
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jsonschema_rs

from tests.api import Answer

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"


@cache
def document() -> dict[str, Any]:
    """The committed document."""
    found: dict[str, Any] = json.loads(COMMITTED.read_bytes())
    return found


@cache
def operations() -> list[tuple[str, "re.Pattern[str]", str]]:
    """Method, pattern of the path, path as it stands in the document."""
    return [
        (method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), path)
        for path, found in document()["paths"].items()
        for method in found
    ]


@cache
def schema(reference: str) -> jsonschema_rs.Validator:
    """The validator of a schema that stands in the document at this JSON pointer."""
    root = {"$ref": f"#/document{quote(reference, safe='/~')}", "document": _rebased(document())}
    return jsonschema_rs.Draft202012Validator(root, validate_formats=True)


def _rebased(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: f"#/document{found[1:]}" if name == "$ref" else _rebased(found)
            for name, found in value.items()
        }
    return [_rebased(item) for item in value] if isinstance(value, list) else value


def check(method: str, path: str, answer: Answer) -> None:
    """Fails where the document has the operation and does not promise this answer."""
    wanted = path.partition("?")[0]
    found = [
        name for verb, pattern, name in operations() if verb == method and pattern.fullmatch(wanted)
    ]
    if not found or answer.status == 405:
        return
    (name,) = found
    promised = document()["paths"][name][method.lower()]["responses"]
    is_error = answer.status >= 400 and b"error_code" in answer.content
    if is_error and "/api/v1/" not in name:
        return  # of the ground rules, which hold for every address
    assert str(answer.status) in promised, f"{method} {path}: {answer.status} is not documented"
    content = promised[str(answer.status)].get("content")
    if content is None:
        assert answer.content == b""
        return
    assert answer.headers["content-type"] == "application/json"
    pointer = "/".join(
        part.replace("~", "~0").replace("/", "~1")
        for part in (name, method.lower(), "responses", str(answer.status), "content")
    )
    schema(f"/paths/{pointer}/application~1json/schema").validate(answer.json)
