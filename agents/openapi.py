"""What the OpenAPI document says about agents."""

from drf_spectacular.utils import OpenApiParameter, extend_schema_view

from agents.serializers import AgentBody, AgentSerializer, LanguageModelSerializer
from map_project.api.schema import operation

_TOOL_ID = "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"
_FIELDS = {"name": "Researcher", "role": "research analyst", "description": "Finds and sums up."}
_BODY = {**_FIELDS, "tool_ids": [_TOOL_ID], "model": "gpt-4o", "settings": {"temperature": 0.2}}
EXAMPLE = {
    "id": "0197a3c1-0c55-7d0e-8a41-6a1f7c8e2b90",
    **_FIELDS,
    "tools": [
        {
            "id": _TOOL_ID,
            "name": "web_search",
            "description": "Searches the web and returns the first ten results.",
        }
    ],
    "model": "gpt-4o",
    "max_steps": 8,
    "settings": {"temperature": 0.2},
    "created_at": "2026-11-22T10:00:00.123456Z",
    "updated_at": "2026-11-22T10:00:00.123456Z",
}
_ONE = ("AGENT_NOT_FOUND", "TENANT_ISOLATION_VIOLATION")

documented = extend_schema_view(
    list=operation(
        "List agents",
        description="Ordered by `created_at`, then `id`.",
        parameters=[
            OpenApiParameter(
                "tool_name", str, description="Only agents with the tool of this name."
            )
        ],
        responses={200: AgentSerializer(many=True)},
        errors=["INVALID_PAGINATION"],
        example=EXAMPLE,
    ),
    create=operation(
        "Create an agent",
        request=AgentBody,
        responses={201: AgentSerializer},
        errors=["INVALID_MODEL", "DUPLICATE_AGENT_NAME", "CROSS_TENANT_TOOL"],
        body={"An agent": _BODY},
        example=EXAMPLE,
    ),
    retrieve=operation(
        "Read an agent", responses={200: AgentSerializer}, errors=_ONE, example=EXAMPLE
    ),
    update=operation(
        "Replace an agent",
        description="`tool_ids` left out leaves the tools alone; `[]` clears them.",
        request=AgentBody,
        responses={200: AgentSerializer},
        errors=[*_ONE, "INVALID_MODEL", "DUPLICATE_AGENT_NAME", "CROSS_TENANT_TOOL"],
        body={"An agent": _BODY},
        example=EXAMPLE,
    ),
    partial_update=operation(
        "Change an agent",
        description="Only what is sent changes; `{}` changes nothing.",
        request=AgentBody(partial=True),
        responses={200: AgentSerializer},
        errors=[*_ONE, "INVALID_MODEL", "DUPLICATE_AGENT_NAME", "CROSS_TENANT_TOOL"],
        body={"A new description": {"description": "Finds, compares and sums up."}},
        example=EXAMPLE,
    ),
    destroy=operation(
        "Delete an agent",
        description="Its executions stay in the history.",
        responses={204: None},
        errors=_ONE,
    ),
)

models_documented = extend_schema_view(
    list=operation(
        "List models",
        description="Those that your runs may name, in the order in which the operator made them.",
        responses={200: LanguageModelSerializer(many=True)},
        errors=["INVALID_PAGINATION"],
        example={
            "name": "gpt-4o",
            "provider": "openai",
            "input_price_per_million": "2.5",
            "output_price_per_million": "10",
        },
    ),
)
