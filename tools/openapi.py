"""What the OpenAPI document says about tools."""

from drf_spectacular.utils import OpenApiParameter, extend_schema_view

from map_project.api.schema import operation
from tools.serializers import ToolBody, ToolSerializer

_BODY = {"name": "web_search", "description": "Searches the web and returns the first ten results."}
EXAMPLE = {
    "id": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11",
    **_BODY,
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
        body={"A tool": _BODY},
        example=EXAMPLE,
    ),
    retrieve=operation(
        "Read a tool", responses={200: ToolSerializer}, errors=_ONE, example=EXAMPLE
    ),
    update=operation(
        "Replace a tool",
        request=ToolBody,
        responses={200: ToolSerializer},
        errors=[*_ONE, "DUPLICATE_TOOL_NAME"],
        body={"A tool": _BODY},
        example=EXAMPLE,
    ),
    partial_update=operation(
        "Change a tool",
        description="Only what is sent changes; `{}` changes nothing.",
        request=ToolBody(partial=True),
        responses={200: ToolSerializer},
        errors=[*_ONE, "DUPLICATE_TOOL_NAME"],
        body={"A new description": {"description": _BODY["description"]}},
        example=EXAMPLE,
    ),
    destroy=operation(
        "Delete a tool",
        description="Refused while an agent uses it.",
        responses={204: None},
        errors=[*_ONE, "TOOL_IN_USE"],
    ),
)
