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
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENABLE_DJANGO_DEPLOY_CHECK": False,
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "ratelimit.openapi.document_rate_limit",
    ],
}
