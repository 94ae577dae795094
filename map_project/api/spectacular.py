"""The setting `SPECTACULAR_SETTINGS`: the head of the OpenAPI document (drf-spectacular)."""

from typing import Any

from map_project import VERSION

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Mini Agent Platform",
    "VERSION": VERSION,
    "DESCRIPTION": "Define tools, compose agents from them, run an agent on a prompt, and read the history "
    "of the runs. Every operation under /api/v1 and /v1 requires an API key, in the header `X-API-KEY` or as "
    "`Authorization: Bearer`. A key gives access only to the data of its tenant.",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    # JavaScript: the key survives a reload, and requests have no CSRF header, which the API does not use.
    "SWAGGER_UI_SETTINGS": "{deepLinking: true, persistAuthorization: true, "
    "requestInterceptor: (request) => request}",
    "TAGS": [
        {"name": "tools", "description": "Functions that agents can use."},
        {
            "name": "agents",
            "description": "A role with tools. Run an agent to get a response to a prompt.",
        },
        {
            "name": "history",
            "description": "All runs of your agents, with their steps. Runs that have not ended can be "
            "cancelled.",
        },
        {
            "name": "approvals",
            "description": "Tool calls that a person has to approve. Their runs wait for the decisions.",
        },
        {"name": "usage", "description": "What your runs add up to."},
        {"name": "conversations", "description": "Runs that continue one another, one at a time."},
        {
            "name": "webhooks",
            "description": "URLs that receive a request when a run ends or waits.",
        },
        {"name": "models", "description": "The language models that your runs can use."},
        {
            "name": "keys",
            "description": "The API keys of your tenant, for keys with the scope `keys`.",
        },
        {"name": "account", "description": "Your API key, its tenant and its rate limit."},
        {
            "name": "openai",
            "description": "The same runs for clients of OpenAI's API: Responses and Chat Completions. A "
            "model is an agent with a default model. Unknown fields are ignored.",
        },
        {"name": "service", "description": "Health checks. No API key is required."},
    ],
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
    "ENUM_SUFFIX": "",
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
    "ENUM_NAME_OVERRIDES": {
        "ExecutionStatus": "executions.models.Execution.Status",
        "StepKind": "executions.models.Step.Kind",
        "ToolKind": "tools.models.Tool.Kind",
        "ToolApproval": ["never", "always"],
        "ApprovalStatus": "executions.models.Approval.Status",
        "HttpMethod": ["GET", "POST", "PUT", "PATCH", "DELETE"],
        "ArgumentPlace": "tools.invokers.http_config.LOCATIONS",
        "ArgumentStyle": "tools.invokers.http_arguments.STYLES",
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "map_project.api.schema.rename_components",
        "map_project.api.schema.describe_success",
        "map_project.tenants.openapi.describe_scopes",
        "ratelimit.openapi.document_rate_limit",
        "map_project.openai_api.openapi.schemas.document_components",
    ],
}
