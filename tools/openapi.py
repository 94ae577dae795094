"""What the OpenAPI document says about tools."""

from drf_spectacular.utils import OpenApiParameter, extend_schema_view

from map_project.api.schema import RATE_LIMIT_HEADERS, operation
from tools.serializers import ToolBody, ToolSerializer, ToolTestBody, ToolTestSerializer

_TEXTS = {"name": "weather", "description": "Tells the weather of a city, today."}
_DECLARED = {"name": "web_search", "description": "Searches the web; nothing is called."}
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
_BODY = {**_CALLED, "secrets": {"token": "what the service gave you"}}
EXAMPLE = {
    "id": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11",
    **_CALLED,
    "secret_names": ["token"],
    "created_at": "2026-11-22T10:00:00.123456Z",
    "updated_at": "2026-11-22T10:00:00.123456Z",
}
_ONE = ("TOOL_NOT_FOUND", "TENANT_ISOLATION_VIOLATION")

documented = extend_schema_view(
    list=operation(
        "List tools",
        description="Ordered by `created_at`, then `id`.",
        parameters=[
            OpenApiParameter("agent_name", str, description="Only tools of the agent of this name.")
        ],
        responses={200: ToolSerializer(many=True)},
        errors=["INVALID_PAGINATION"],
        example=EXAMPLE,
    ),
    create=operation(
        "Create a tool",
        request=ToolBody,
        responses={201: ToolSerializer},
        errors=["DUPLICATE_TOOL_NAME"],
        body={"A tool that is called": _BODY, "A tool that is declared": _DECLARED},
        example=EXAMPLE,
    ),
    retrieve=operation(
        "Read a tool", responses={200: ToolSerializer}, errors=_ONE, example=EXAMPLE
    ),
    update=operation(
        "Replace a tool",
        description="Name and description are needed. Kind, parameters, `http` and secrets stay as they "
        "are where they are left out.",
        request=ToolBody,
        responses={200: ToolSerializer},
        errors=[*_ONE, "DUPLICATE_TOOL_NAME"],
        body={"A tool that is called": _BODY, "A tool that is declared": _DECLARED},
        example=EXAMPLE,
    ),
    partial_update=operation(
        "Change a tool",
        description="Only what is sent changes; `{}` changes nothing. `http` is replaced as a whole.",
        request=ToolBody(partial=True),
        responses={200: ToolSerializer},
        errors=[*_ONE, "DUPLICATE_TOOL_NAME"],
        body={
            "A new description": {"description": _TEXTS["description"]},
            "A new secret": {"secrets": {"token": "another one", "old_token": None}},
        },
        example=EXAMPLE,
    ),
    destroy=operation(
        "Delete a tool",
        description="Refused while an agent uses it.",
        responses={204: None},
        errors=[*_ONE, "TOOL_IN_USE"],
    ),
)

test_documented = extend_schema_view(
    create=operation(
        "Test a tool",
        description="Makes the call, and answers what a model would see: 200 also where the call "
        "failed. Takes one unit of the tenant's quota, whatever comes of it.",
        operation_id="tools_test",
        tags=["tools"],
        request=ToolTestBody,
        parameters=RATE_LIMIT_HEADERS,
        responses={200: ToolTestSerializer},
        errors=[*_ONE, "TOOL_NOT_CALLABLE", "RATE_LIMIT_EXCEEDED"],
        body={"A call": {"arguments": {"city": "Hamburg"}}},
        example={
            "ok": True,
            "error": None,
            "result": '{"city": "Hamburg", "celsius": 11}',
            "latency_ms": 184,
        },
    )
)
