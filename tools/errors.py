"""Errors of tools."""

from map_project.api.errors import ApiError

_ID = "0197a3c0-5b7e-7c1a-9f60-3a2f4f0f7a11"


class ToolNotFound(ApiError):
    """404."""

    status_code = 404
    error_code = "TOOL_NOT_FOUND"
    message = "The tool does not exist."
    example_details = {"tool_id": _ID}


class DuplicateToolName(ApiError):
    """400."""

    status_code = 400
    error_code = "DUPLICATE_TOOL_NAME"
    message = "A tool with this name already exists."
    example_details = {"name": "web_search"}


class ToolInUse(ApiError):
    """400: the tool cannot be deleted while agents use it."""

    status_code = 400
    error_code = "TOOL_IN_USE"
    message = "This tool is used by agents. Remove it from them first."
    example_details = {"dependent_agents": [{"id": _ID, "name": "Researcher"}]}


class ToolNotCallable(ApiError):
    """400: a declared tool cannot be called."""

    status_code = 400
    error_code = "TOOL_NOT_CALLABLE"
    message = "Declared tools cannot be called. Only http and mcp tools can be tested."
    example_details = {"tool_id": _ID, "kind": "declared"}


class ToolNotRefreshable(ApiError):
    """400: a tool of another kind than `mcp` has no definition on a server."""

    status_code = 400
    error_code = "TOOL_NOT_REFRESHABLE"
    message = "Only mcp tools can be refreshed."
    example_details = {"tool_id": _ID, "kind": "http"}


class ToolServerError(ApiError):
    """400: the server of a tool did not return its definition. `reason` is a code as in a test of a tool."""

    status_code = 400
    error_code = "TOOL_SERVER_ERROR"
    message = "The server did not return the definitions of its tools."
    example_details = {"reason": "timeout", "text": "The server did not respond in time."}
