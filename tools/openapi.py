"""The OpenAPI operations of tools."""

from drf_spectacular.utils import extend_schema_view

from map_project.api.errors import InvalidPagination
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation as operation
from tools.errors import DuplicateToolName, ToolInUse, ToolNotCallable, ToolNotFound
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
    "secret_names": ["token"],
    "created_at": "2026-11-22T10:00:00.123456Z",
    "updated_at": "2026-11-22T10:00:00.123456Z",
}
_ONE = (ToolNotFound, TenantIsolationViolation)

documented = extend_schema_view(
    list=operation(
        "List tools",
        description="Ordered by `created_at`, then `id`.",
        responses={200: ToolSerializer(many=True)},
        errors=[InvalidPagination],
        example=EXAMPLE,
    ),
    create=operation(
        "Create a tool",
        responses={201: ToolSerializer},
        errors=[DuplicateToolName],
        body={"Callable tool": _BODY, "Declared tool": _DECLARED},
        example=EXAMPLE,
    ),
    retrieve=operation(
        "Read a tool", responses={200: ToolSerializer}, errors=_ONE, example=EXAMPLE
    ),
    update=operation(
        "Replace a tool",
        description="Name and description are required. Kind, parameters, `http` and secrets keep their "
        "values if they are omitted.",
        responses={200: ToolSerializer},
        errors=[*_ONE, DuplicateToolName],
        body={"Callable tool": _BODY, "Declared tool": _DECLARED},
        example=EXAMPLE,
    ),
    partial_update=operation(
        "Change a tool",
        description="Changes the fields that are sent. `http` is replaced as a whole.",
        responses={200: ToolSerializer},
        errors=[*_ONE, DuplicateToolName],
        body={
            "New description": {"description": _TEXTS["description"]},
            "New secret": {"secrets": {"token": "a new token", "old_token": None}},
        },
        example=EXAMPLE,
    ),
    destroy=operation(
        "Delete a tool",
        description="Rejected while an agent uses the tool.",
        responses={204: None},
        errors=[*_ONE, ToolInUse],
    ),
    test=operation(
        "Test a tool",
        description="Calls the tool and returns what a model would read: 200 also if the call failed. Takes "
        "one unit of the tenant's quota.",
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
