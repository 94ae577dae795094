"""The OpenAPI parts of every operation that needs an API key."""

from collections.abc import Iterable
from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension

from map_project.api.errors import ApiError
from map_project.api.schema import operation
from map_project.tenants.errors import InsufficientScope, InvalidApiKey, MissingApiKey


def tenant_operation(summary: str, *, errors: Iterable[type[ApiError]] = (), **kwargs: Any) -> Any:
    """Return the decorator of `map_project.api.schema.operation`, with the errors of an API key."""
    errors = (MissingApiKey, InvalidApiKey, InsufficientScope, *errors)
    return operation(summary, errors=errors, **kwargs)


class TenantAuthenticationScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """The two headers that may hold the API key."""

    target_class = "map_project.tenants.authentication.TenantAuthentication"
    name = ["ApiKey", "Bearer"]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        return [{name: [auto_schema.view.required_scope]} for name in self.name]

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


def describe_scopes(
    result: dict[str, Any], generator: Any, request: Any, public: bool
) -> dict[str, Any]:
    """Name the required scope in the descriptions too (a drf-spectacular postprocessing hook).

    Swagger UI and Redoc do not show the scopes of API keys.
    """
    for path in result["paths"].values():
        for each in path.values():
            for requirement in each.get("security", ())[:1]:
                ((scope,),) = requirement.values()
                each["description"] += f"\n\nRequired scope: `{scope}`."
    return result
