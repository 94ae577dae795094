"""The OpenAPI parts of every operation that needs an API key."""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from map_project.api.errors import ApiError
from map_project.api.schema import operation
from map_project.tenants.errors import InvalidApiKey, MissingApiKey


def tenant_operation(summary: str, *, errors: Iterable[type[ApiError]] = (), **kwargs: Any) -> Any:
    """Return the decorator of `map_project.api.schema.operation`, with the errors of authentication."""
    return operation(summary, errors=(MissingApiKey, InvalidApiKey, *errors), **kwargs)


class TenantAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The two headers that may hold the API key."""

    target_class = "map_project.tenants.authentication.TenantAuthentication"
    name = ["ApiKey", "Bearer"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        return [{name: []} for name in self.name]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {
                "type": "apiKey",
                "in": "header",
                "name": "X-API-KEY",
                "description": "Your API key.",
            },
            {"type": "http", "scheme": "bearer", "description": "Your API key."},
        ]
