"""The OpenAPI operations of agents and language models."""

from drf_spectacular.utils import extend_schema_view

from agents.errors import AgentNotFound, CrossTenantTool, DuplicateAgentName, InvalidModel
from agents.serializers import AgentSerializer, LanguageModelSerializer
from map_project.api.errors import InvalidPagination
from map_project.tenants.errors import TenantIsolationViolation
from map_project.tenants.openapi import tenant_operation as operation

_TOOL_ID = "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"
_FIELDS = {
    "name": "Researcher",
    "role": "research analyst",
    "description": "Finds and summarizes sources.",
}
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
    "max_tool_calls": 100,
    "max_context_characters": 200_000,
    "settings": {"temperature": 0.2},
    "output_schema": None,
    "created_at": "2026-11-22T10:00:00.123456Z",
    "updated_at": "2026-11-22T10:00:00.123456Z",
}
_ONE = (AgentNotFound, TenantIsolationViolation)
_WRITE = (InvalidModel, DuplicateAgentName, CrossTenantTool)

documented = extend_schema_view(
    list=operation(
        "List agents",
        description="Returns your agents, sorted by `created_at`, then `id`.",
        responses={200: AgentSerializer(many=True)},
        errors=[InvalidPagination],
        example=EXAMPLE,
    ),
    create=operation(
        "Create an agent",
        description="Creates an agent with a role and tools. Its name must be unique within your tenant.",
        responses={201: AgentSerializer},
        errors=_WRITE,
        body={"Agent": _BODY},
        example=EXAMPLE,
    ),
    retrieve=operation(
        "Read an agent",
        description="Returns an agent with its tools.",
        id_of="agent",
        responses={200: AgentSerializer},
        errors=_ONE,
        example=EXAMPLE,
    ),
    update=operation(
        "Replace an agent",
        description="`name`, `role` and `description` are required. Other fields are unchanged if omitted. "
        "An empty `tool_ids` removes all tools.",
        id_of="agent",
        responses={200: AgentSerializer},
        errors=[*_ONE, *_WRITE],
        body={"Agent": _BODY},
        example=EXAMPLE,
    ),
    partial_update=operation(
        "Update an agent",
        description="Changes the fields that you send. Omitted fields are unchanged.",
        id_of="agent",
        responses={200: AgentSerializer},
        errors=[*_ONE, *_WRITE],
        body={"New description": {"description": "Finds, compares and summarizes sources."}},
        example=EXAMPLE,
    ),
    destroy=operation(
        "Delete an agent",
        description="Deletes an agent. Its executions stay in the history.",
        id_of="agent",
        responses={204: None},
        errors=_ONE,
    ),
)

models_documented = extend_schema_view(
    list=operation(
        "List models",
        description="Returns the models that your runs can use, in the order in which they were added.",
        responses={200: LanguageModelSerializer(many=True)},
        errors=[InvalidPagination],
        example={
            "name": "gpt-4o",
            "provider": "openai",
            "input_price_per_million": "2.5",
            "output_price_per_million": "10",
        },
    ),
)
