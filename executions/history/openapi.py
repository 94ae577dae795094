"""The OpenAPI operation of the export."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import OpenApiParameter

from executions.errors import TooManyStreams
from executions.history.cursors import EXAMPLE
from executions.history.export import CONTENT_TYPE
from executions.history.filters import described_filters
from executions.serializers import ExportedExecutionSerializer
from map_project.api.errors import BadRequest
from map_project.tenants.openapi import tenant_operation as operation


def export_operation(execution: Mapping[str, Any]) -> Any:
    """Return the operation. `execution` is an example."""
    cursor = OpenApiParameter(
        "cursor", str, description="Return the executions after the line with this `cursor`."
    )
    return operation(
        "Export executions",
        description="Returns your executions as lines of JSON (NDJSON), oldest first: each line is an "
        "execution with all of its steps. Executions that have not ended, and those of the last 10 "
        "seconds, are not included. To continue an interrupted export, send the `cursor` of the last "
        "whole line.",
        parameters=[
            *(
                OpenApiParameter(name, dict(schema), description=description)
                for name, description, schema in described_filters()
            ),
            cursor,
        ],
        responses={(200, CONTENT_TYPE): ExportedExecutionSerializer},
        errors=[BadRequest, TooManyStreams],
        example={**execution, "cursor": EXAMPLE},
        filters=False,
    )
