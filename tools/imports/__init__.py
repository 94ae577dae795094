"""Imports of tools. Each kind of source has a serializer here, listed in `IMPORTS`."""

from typing import Any

from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework.serializers import Serializer

from map_project.api.errors import ValidationFailed
from map_project.api.fields import check_object
from tools.imports.mcp import McpImportSerializer
from tools.imports.openapi import OpenApiImportSerializer
from tools.imports.serializers import ImportSerializer

IMPORTS: dict[str, type[ImportSerializer]] = {
    "mcp": McpImportSerializer,
    "openapi": OpenApiImportSerializer,
}

_DOCUMENTED: dict[str, Serializer[Any] | type[Serializer[Any]]] = {**IMPORTS}
# Documents the request.
ToolImport = PolymorphicProxySerializer(
    component_name="ToolImport", serializers=_DOCUMENTED, resource_type_field_name="kind"
)


def import_serializer(data: Any) -> type[ImportSerializer]:
    """Return the serializer of the kind that a request names. Raises ValidationFailed."""
    check_object(data)
    kind = data.get("kind")
    if kind is None:
        raise ValidationFailed(fields={"kind": ["This field is required."]})
    if not isinstance(kind, str) or kind not in IMPORTS:
        raise ValidationFailed(fields={"kind": [f"Expected one of {', '.join(IMPORTS)}."]})
    return IMPORTS[kind]
