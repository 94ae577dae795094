"""Bodies that are JSON, but not an object, at all operations that have a body."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from map_project.tenants.keys import issue_key
from tests.api import Api
from tests.contract.document import document, operations
from tests.contract.writes import Rows
from tests.factories import (
    AgentFactory,
    ApprovalFactory,
    ExecutionFactory,
    ToolFactory,
    WebhookFactory,
)

MESSAGE = "The request body must be a JSON object."
OPERATIONS = [
    (method, path)
    for method, _, path in operations()
    if "requestBody" in document()["paths"][path][method.lower()]
]
NOT_OBJECTS = [
    b"[]",
    b'[{"name": "web"}]',
    b'"text"',
    b"1",
    b"-1.5e3",
    b"true",
    b"null",
    b'""',
    b"0",
]
# By the first part of the path, a row that `{id}` can be.
ROW_OF: dict[str, Callable[[Rows], Any]] = {
    "tools": lambda rows: ToolFactory.create(tenant=rows.tenant, kind="http"),
    "agents": lambda rows: AgentFactory.create(tenant=rows.tenant),
    "webhooks": lambda rows: WebhookFactory.create(tenant=rows.tenant),
    "keys": lambda rows: issue_key(tenant=rows.tenant)[0],
    "approvals": lambda rows: ApprovalFactory.create(
        execution=ExecutionFactory.create(agent=rows.agent)
    ),
}


def url(rows: Rows, path: str) -> str:
    return re.sub(r"(\w+)/\{id\}", lambda match: f"{match[1]}/{ROW_OF[match[1]](rows).pk}", path)


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=str)
def test_the_error_says_that_an_object_is_expected(rows: Rows, method: str, path: str) -> None:
    route = url(rows, path)
    before = rows.snapshot()
    for raw in NOT_OBJECTS:
        response = rows.api.call(method, route, raw=raw)
        assert response.status == 400
        if path.startswith("/v1"):
            assert response.json["error"]["message"] == MESSAGE
            assert response.json["error"]["code"] == "validation_error"
        else:
            assert (response.error_code, response.json["message"]) == ("VALIDATION_ERROR", MESSAGE)
            assert response.details == {"fields": {}}
    assert rows.snapshot() == before


@pytest.mark.parametrize("raw", NOT_OBJECTS)
def test_at_mcp(api: Api, raw: bytes) -> None:
    error = api.post("/mcp", raw=raw).json["error"]
    is_batch = raw.startswith(b"[")
    expected = (
        "Batches are not supported." if is_batch else "Expected a JSON-RPC message: an object"
    )
    assert error["message"].startswith(expected)
