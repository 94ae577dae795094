"""Errors of agents and language models."""

from map_project.api.errors import ApiError

_ID = "0197a3c1-0c55-7d0e-8a41-6a1f7c8e2b90"


class AgentNotFound(ApiError):
    """404."""

    status_code = 404
    error_code = "AGENT_NOT_FOUND"
    message = "The agent does not exist."
    example_details = {"agent_id": _ID}


class DuplicateAgentName(ApiError):
    """400."""

    status_code = 400
    error_code = "DUPLICATE_AGENT_NAME"
    message = "An agent with this name already exists."
    example_details = {"name": "Researcher"}


class CrossTenantTool(ApiError):
    """403: an id in `tool_ids` is not a tool of the tenant."""

    status_code = 403
    error_code = "CROSS_TENANT_TOOL"
    message = "The tool does not exist in your tenant."
    example_details = {"tool_id": "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"}


class InvalidModel(ApiError):
    """400: the model does not exist, is inactive, or the tenant may not use it."""

    status_code = 400
    error_code = "INVALID_MODEL"
    message = "The model does not exist, or your tenant may not use it."
    example_details = {"provided_model": "gpt-9", "allowed_models": ["gpt-4o", "gpt-4"]}
