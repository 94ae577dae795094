"""The setting `SPECTACULAR_SETTINGS`: the head of the OpenAPI document (drf-spectacular)."""

from typing import Any

from map_project import VERSION

SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "Mini Agent Platform",
    "VERSION": VERSION,
    "DESCRIPTION": "Define tools, compose agents from them, run an agent on a prompt, and read back "
    "an exact history. Every call needs a tenant's API key, and sees that tenant's rows alone.",
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
        {"name": "tools", "description": "Functions that agents may use."},
        {"name": "agents", "description": "Roles with tools. A run gives an agent a prompt."},
        {"name": "history", "description": "The record of every run and its steps."},
        {"name": "models", "description": "The language models that runs may use."},
        {"name": "account", "description": "The API key of the request, its tenant and its quota."},
        {"name": "service", "description": "Health checks. They need no API key."},
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
        "HttpMethod": ["GET", "POST", "PUT", "PATCH", "DELETE"],
    },
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "map_project.api.schema.rename_components",
        "ratelimit.openapi.document_rate_limit",
    ],
}
