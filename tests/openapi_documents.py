"""OpenAPI documents of well-known services, shortened to a few operations, and the tools that they become.

tests/data/openapi/NAME.json is the document. NAME.tools.json has, by operation, the tool's fields, or the
reason why the operation is left. To write the latter again: `python -m tests.openapi_documents`.
"""

import json
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data" / "openapi"
NAMES = sorted(path.stem for path in DATA.glob("*.json") if "." not in path.stem)
URL = "https://documents.example/openapi.json"


def document(name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return content


def expected_tools(name: str) -> dict[str, Any]:
    tools: dict[str, Any] = json.loads((DATA / f"{name}.tools.json").read_text())
    return tools


def converted_tools(name: str) -> dict[str, Any]:
    """Return what `expected_tools` has, for the code as it is."""
    from tools.imports.openapi.document import Document, UnsupportedOperation
    from tools.imports.openapi.operations import tool_fields

    parsed = Document(document(name), URL)
    tools: dict[str, Any] = {}
    for operation in parsed.operations():
        try:
            tools[operation.source_name] = tool_fields(
                parsed, operation, headers={}, secret_names=()
            )
        except UnsupportedOperation as error:
            tools[operation.source_name] = str(error)
    return tools


if __name__ == "__main__":
    import os

    import django

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "map_project.settings")
    django.setup()
    for each in NAMES:
        text = json.dumps(converted_tools(each), indent=1, ensure_ascii=False)
        (DATA / f"{each}.tools.json").write_text(text + "\n")
