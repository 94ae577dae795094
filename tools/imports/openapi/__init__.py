"""The import from OpenAPI documents: an `http` tool for each operation."""

import time
from collections.abc import Iterator
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from map_project.api.errors import ValidationFailed
from map_project.api.fields import ObjectField, TextField
from tools.imports.base import MAX_IMPORTED_TOOLS, Candidate, Outcome
from tools.imports.openapi.document import (
    YAML_HINT,
    Document,
    DocumentError,
    Operation,
    UnsupportedOperation,
)
from tools.imports.openapi.operations import tool_fields
from tools.imports.openapi.security import document_secrets
from tools.imports.openapi.source import parse_document_url, read_document
from tools.imports.serializers import ImportSerializer
from tools.invokers.http_config import header_problems
from tools.invokers.url import SECRET, UrlError

_MAX_SHOWN_NAMES = 20


class OperationNamesField(serializers.ListField):
    """Names of operations in a document."""

    child = TextField(max_length=500)


@extend_schema_field({"type": "object", "additionalProperties": True})
class DocumentField(ObjectField):
    """An OpenAPI document. It may contain what cannot be stored: only parts of it become tools."""

    default_error_messages = {
        "not_an_object": f"Expected the document as a JSON object. {YAML_HINT}",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_an_object")
        return data


class OpenApiImportSerializer(ImportSerializer):
    """An import of the operations of an OpenAPI document."""

    kind = serializers.ChoiceField(choices=["openapi"], help_text="The kind of the source.")
    url = TextField(
        required=False,
        max_length=2_000,
        help_text="URL of the document: OpenAPI 3.0 or 3.1 as JSON, up to 2 MiB. With `document`, it is not "
        "read, but relative URLs of servers are resolved against it.",
    )
    document = DocumentField(required=False, help_text="The document itself, instead of its URL.")
    operations = OperationNamesField(
        required=False,
        allow_null=True,
        max_length=MAX_IMPORTED_TOOLS,
        help_text="Operations to import: each an `operationId`, or method and path such as `GET /pets/{id}`. "
        "If omitted or null, all, if the document has at most 100.",
    )
    headers = ObjectField(
        required=False,
        help_text="Headers of the requests of all tools, as in `http.headers` of a tool. Values may contain "
        "`{{secret.name}}`. A header replaces the parameter of an operation, or the security scheme, that "
        "sets it.",
    )

    def validate_url(self, value: str) -> str:
        try:
            parse_document_url(value)
        except UrlError as error:
            raise serializers.ValidationError(str(error)) from None
        return value

    def validate_headers(self, value: dict[str, Any]) -> dict[str, Any]:
        if problems := [problem.partition(": ")[2] for problem in header_problems(value)]:
            raise serializers.ValidationError(problems)
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "url" not in attrs and "document" not in attrs:
            raise serializers.ValidationError({"url": ["Send url or document."]})
        return attrs

    def candidates(self) -> tuple[list[Candidate], list[Outcome]]:
        """Return the tools for the operations. See `ImportSerializer`."""
        document = self._document()
        self._check_secrets(document)
        candidates, left = [], []
        for operation in self._operations(document):
            try:
                candidates.append(self._candidate(document, operation))
            except UnsupportedOperation as error:
                name = operation.name[:100]
                left.append(Outcome(operation.source_name, name, reason=str(error)))
            # Other requests continue.
            time.sleep(0)
        return candidates, left

    def _document(self) -> Document:
        data = self.validated_data
        url = data.get("url", "")
        try:
            content = data["document"] if "document" in data else read_document(url)
            return Document(content, url)
        except DocumentError as error:
            field = "document" if "document" in data else "url"
            raise ValidationFailed(fields={field: [str(error)]}) from None

    def _check_secrets(self, document: Document) -> None:
        """Raise ValidationFailed for secrets that no tool can use."""
        schemes = document_secrets(document)
        in_headers = _secrets_in(self._headers)
        errors = []
        for name, value in self.validated_data.get("secrets", {}).items():
            if name not in {*schemes, *in_headers}:
                known = ", ".join([*schemes][:_MAX_SHOWN_NAMES]) or "none"
                errors.append(
                    f"{name} is not used. The security schemes of the document are: {known}."
                )
            elif schemes.get(name) and value and ":" in value:
                errors.append(f"{name} must be the base64 encoding of user:password.")
        if errors:
            raise ValidationFailed(fields={"secrets": errors[:_MAX_SHOWN_NAMES]})

    @property
    def _headers(self) -> dict[str, str]:
        headers: dict[str, str] = self.validated_data.get("headers", {})
        return headers

    def _operations(self, document: Document) -> list[Operation]:
        """Return the operations to import. Raises ValidationFailed."""
        found = document.operations(self.validated_data.get("prefix", ""))
        wanted = self.validated_data.get("operations")
        if wanted is None:
            if len(found) > MAX_IMPORTED_TOOLS:
                error = (
                    f"The document has {len(found)} operations. Name at most {MAX_IMPORTED_TOOLS}."
                )
                raise ValidationFailed(fields={"operations": [error]})
            return found
        by_name = {f"{each.method} {each.path}": each for each in found}
        by_name |= {each.source_name: each for each in reversed(found)}
        if unknown := [name for name in wanted if name not in by_name]:
            errors = [f"The document has no operation {name}." for name in unknown]
            raise ValidationFailed(fields={"operations": errors[:_MAX_SHOWN_NAMES]})
        return [*{by_name[name].name: by_name[name] for name in wanted}.values()]

    def _candidate(self, document: Document, operation: Operation) -> Candidate:
        if operation.node.get("deprecated") is True and not self.validated_data.get("operations"):
            raise UnsupportedOperation("It is deprecated. Name it in operations to import it.")
        secrets = self.validated_data.get("secrets", {})
        given = {name for name, value in secrets.items() if value is not None}
        fields = tool_fields(document, operation, headers=self._headers, secret_names=given)
        used = {*_secrets_in(fields["http"]["headers"]), *SECRET.findall(fields["http"]["url"])}
        kept = {name: value for name, value in secrets.items() if name in used}
        return Candidate(operation.source_name, {**fields, "secrets": kept})


def _secrets_in(headers: dict[str, str]) -> Iterator[str]:
    return (name for value in headers.values() for name in SECRET.findall(value))
