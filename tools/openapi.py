"""The OpenAPI operations of tools."""

from drf_spectacular.utils import extend_schema_view

from map_project.api.errors import InvalidPagination
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation as operation
from tools.errors import (
    DuplicateToolName,
    ToolInUse,
    ToolNotCallable,
    ToolNotFound,
    ToolNotRefreshable,
    ToolServerError,
)
from tools.imports import ToolImport
from tools.imports.serializers import ImportResultSerializer
from tools.serializers import ToolSerializer, ToolTestSerializer

_TEXTS = {"name": "weather", "description": "Returns the current weather of a city."}
_DECLARED = {"name": "web_search", "description": "Searches the web."}
_PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
_HTTP = {
    "method": "GET",
    "url": "https://api.example.com/v1/weather/{city}",
    "arguments_in": "query",
    "headers": {"Authorization": "Bearer {{secret.token}}"},
    "timeout_seconds": 10,
}
_CALLED = {**_TEXTS, "kind": "http", "parameters": _PARAMETERS, "http": _HTTP}
_BODY = {**_CALLED, "secrets": {"token": "the token of the service"}}
EXAMPLE = {
    "id": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11",
    **_CALLED,
    "mcp": None,
    "state": "ready",
    "idempotent": True,
    "approval": "never",
    "approval_timeout_seconds": 86_400,
    "secret_names": ["token"],
    "created_at": "2026-11-22T10:00:00.123456Z",
    "updated_at": "2026-11-22T10:00:00.123456Z",
}
_MCP = {
    "url": "https://mcp.example.com/mcp",
    "tool": "search",
    "headers": {"Authorization": "Bearer {{secret.token}}"},
    "timeout_seconds": 10,
}
_IMPORT = {
    "kind": "mcp",
    "url": _MCP["url"],
    "headers": _MCP["headers"],
    "secrets": {"token": "the token of the server"},
    "tools": ["search", "fetch"],
    "prefix": "docs_",
}
_OPENAPI_IMPORT = {
    "kind": "openapi",
    "url": "https://api.example.com/openapi.json",
    "operations": ["getPet", "POST /pets"],
    "secrets": {"bearerAuth": "the token of the service"},
    "dry_run": True,
}
_IMPORTED = {
    "dry_run": False,
    "created": [
        {
            "source_name": "search",
            "name": "docs_search",
            "id": EXAMPLE["id"],
            "reason": None,
            "definition": None,
        }
    ],
    "changed": [],
    "unchanged": [],
    "left": [
        {
            "source_name": "fetch",
            "name": "fetch",
            "id": None,
            "reason": "The server has no such tool.",
            "definition": None,
        }
    ],
}
_REFRESHED = {
    **EXAMPLE,
    "name": "docs_search",
    "description": "Searches the documentation.",
    "kind": "mcp",
    "http": None,
    "mcp": _MCP,
    "idempotent": False,
}
_ONE = (ToolNotFound, TenantIsolationViolation)

documented = extend_schema_view(
    list=operation(
        "List tools",
        description="Returns your tools, sorted by `created_at`, then `id`.",
        responses={200: ToolSerializer(many=True)},
        errors=[InvalidPagination],
        example=EXAMPLE,
    ),
    create=operation(
        "Create a tool",
        description="Creates a tool. Its name must be unique within your tenant.",
        responses={201: ToolSerializer},
        errors=[DuplicateToolName],
        body={"Callable tool": _BODY, "Declared tool": _DECLARED},
        example=EXAMPLE,
    ),
    retrieve=operation(
        "Read a tool",
        description="Returns a tool. The values of its secrets are never returned.",
        id_of="tool",
        responses={200: ToolSerializer},
        errors=_ONE,
        example=EXAMPLE,
    ),
    update=operation(
        "Replace a tool",
        description="`name` and `description` are required. Other fields are unchanged if omitted.",
        id_of="tool",
        responses={200: ToolSerializer},
        errors=[*_ONE, DuplicateToolName],
        body={"Callable tool": _BODY, "Declared tool": _DECLARED},
        example=EXAMPLE,
    ),
    partial_update=operation(
        "Update a tool",
        description="Changes the fields that you send. Omitted fields are unchanged. `http` and `parameters` "
        "are replaced as a whole.",
        id_of="tool",
        responses={200: ToolSerializer},
        errors=[*_ONE, DuplicateToolName],
        body={
            "New description": {"description": _TEXTS["description"]},
            "Approval of each call": {"approval": "always"},
            "New secret": {"secrets": {"token": "a new token", "old_token": None}},
        },
        example=EXAMPLE,
    ),
    destroy=operation(
        "Delete a tool",
        description="Deletes a tool. A tool that an agent uses cannot be deleted.",
        id_of="tool",
        responses={204: None},
        errors=[*_ONE, ToolInUse],
    ),
    import_tools=operation(
        "Import tools",
        description="Creates a tool for each tool of an MCP server, or for each operation of an OpenAPI "
        "document. A tool of an earlier import gets the current definition. A tool that cannot be imported "
        "is left, with the reason. All tools are written in one transaction; at most 100 in one import. "
        "Counts as one run against the rate limit.",
        operation_id="tools_import",
        tags=["tools"],
        request=ToolImport,
        responses={200: ImportResultSerializer},
        errors=[ToolServerError],
        body={"MCP server": _IMPORT, "OpenAPI document": _OPENAPI_IMPORT},
        example=_IMPORTED,
    ),
    refresh=operation(
        "Refresh a tool",
        description="Takes the description and the parameters of an `mcp` tool from its server, and sets "
        "`state` to `ready`. Counts as one run against the rate limit.",
        id_of="tool",
        operation_id="tools_refresh",
        tags=["tools"],
        request=None,
        responses={200: ToolSerializer},
        errors=[*_ONE, ToolNotRefreshable, ToolServerError],
        example=_REFRESHED,
    ),
    test=operation(
        "Test a tool",
        description="Calls an `http` or `mcp` tool and returns the text that a model would receive. The "
        "response status is 200 even if the call fails. Counts as one run against the rate limit.",
        id_of="tool",
        operation_id="tools_test",
        tags=["tools"],
        request=ToolTestSerializer,
        responses={200: ToolTestSerializer},
        errors=[*_ONE, ToolNotCallable],
        body={"Call": {"arguments": {"city": "Hamburg"}}},
        example={
            "ok": True,
            "error": None,
            "result": '{"city": "Hamburg", "celsius": 11}',
            "latency_ms": 184,
        },
    ),
)
