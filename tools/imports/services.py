"""Writing imported tools."""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from typing import Any

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from map_project.api import secrets
from map_project.api.errors import ValidationFailed
from tools.imports.base import MAX_IMPORTED_TOOLS, Candidate, ImportResult, Outcome, identity
from tools.models import Tool
from tools.serializers import ToolSerializer
from tools.services import set_fields

# Of other requests that create a tool with one of the names at the same moment.
MAX_CONFLICTS = 5

_WRITTEN = (
    *("description", "parameters", "config", "idempotent", "definition_hash", "state"),
    *("secrets_token", "secret_names", "updated_at"),
)


def import_tools(
    *,
    tenant_id: uuid.UUID,
    candidates: Sequence[Candidate],
    left: Sequence[Outcome] = (),
    dry_run: bool = False,
) -> ImportResult:
    """Create the tools that do not exist, and change those that were imported from the same source.

    All are written in one transaction. A tool that cannot be imported is left, with the reason; `left` are
    those of which this is known already.
    """
    result = ImportResult(dry_run, left=list(left))
    valid = list(_valid_fields(candidates, result))
    for _ in range(MAX_CONFLICTS):
        with suppress(IntegrityError):
            return _written(tenant_id, valid, result)
        # A tool with one of the names was created at the same moment, and exists now.
    return _written(tenant_id, valid, result)


def _valid_fields(
    candidates: Sequence[Candidate], result: ImportResult
) -> Iterator[tuple[Candidate, dict[str, Any]]]:
    """Yield the candidates with their validated fields, and leave the others."""
    names = set()
    for number, candidate in enumerate(candidates):
        name = str(candidate.fields["name"])
        serializer = ToolSerializer(data=dict(candidate.fields))
        if number >= MAX_IMPORTED_TOOLS:
            reason = (
                f"An import creates at most {MAX_IMPORTED_TOOLS} tools. Name the others in tools."
            )
        elif not serializer.is_valid():
            reason = _sentence(serializer.errors)
        elif serializer.validated_data["name"] in names:
            reason = "Another tool of this import has the same name."
        else:
            names.add(serializer.validated_data["name"])
            yield candidate, {**serializer.validated_data, **candidate.pinned}
            # Other requests continue: the schema of each tool was compiled.
            time.sleep(0)
            continue
        result.left.append(Outcome(candidate.source_name, name[:100], reason=reason))


@transaction.atomic
def _written(
    tenant_id: uuid.UUID, valid: Sequence[tuple[Candidate, dict[str, Any]]], result: ImportResult
) -> ImportResult:
    result = ImportResult(result.dry_run, left=list(result.left))
    names = [fields["name"] for _, fields in valid]
    # Ordered, so that two imports never wait for each other.
    rows = Tool.objects.filter(tenant_id=tenant_id, name__in=names).order_by("pk")
    existing = {tool.name: tool for tool in rows.select_for_update(no_key=True)}
    new, changed = [], []
    for candidate, fields in valid:
        tool = existing.get(fields["name"])
        try:
            if tool is None:
                new.append(_new_tool(tenant_id, candidate, fields, result))
            elif _is_changed(tool, candidate, fields, result):
                changed.append(tool)
        except ValidationFailed as error:
            reason = _sentence(error.details["fields"])
            result.left.append(Outcome(candidate.source_name, fields["name"], reason=reason))
    if not result.dry_run:
        # Ordered as well: each waits for a row with its name that another import has inserted.
        Tool.objects.bulk_create(sorted(new, key=attrgetter("name")))
        Tool.objects.bulk_update(changed, _WRITTEN)
    return result


def _new_tool(
    tenant_id: uuid.UUID, candidate: Candidate, fields: dict[str, Any], result: ImportResult
) -> Tool:
    tool = Tool(tenant_id=tenant_id)
    set_fields(tool, fields)
    pk = None if result.dry_run else tool.pk
    result.created.append(_outcome(candidate, tool, result, pk))
    return tool


def _outcome(
    candidate: Candidate, tool: Tool, result: ImportResult, pk: uuid.UUID | None
) -> Outcome:
    names = ("name", "description", "kind", "parameters", tool.kind, "idempotent")
    definition = {name: getattr(tool, name) for name in names} if result.dry_run else None
    return Outcome(candidate.source_name, tool.name, pk, definition=definition)


def _is_changed(
    tool: Tool, candidate: Candidate, fields: dict[str, Any], result: ImportResult
) -> bool:
    """Set the fields of a tool, and return whether that changes it."""
    if identity(tool.kind, tool.config) != identity(fields["kind"], fields[fields["kind"]]):
        reason = "A tool with this name exists that was not imported from there."
        result.left.append(Outcome(candidate.source_name, tool.name, tool.pk, reason))
        return False
    before, token = _content(tool), tool.secrets_token
    config = {**fields[tool.kind], "timeout_seconds": tool.config["timeout_seconds"]}
    set_fields(tool, {**fields, tool.kind: config})
    outcome = _outcome(candidate, tool, result, tool.pk)
    if _content(tool) == before:
        tool.secrets_token = token
        result.unchanged.append(outcome)
        return False
    tool.updated_at = Now()
    result.changed.append(outcome)
    return True


def _content(tool: Tool) -> tuple[Any, ...]:
    """Return what an import sets. The values of secrets are decrypted: each token is another text."""
    values = None
    # Those that cannot be decrypted differ from those that are set.
    with suppress(secrets.Unreadable, ImproperlyConfigured):
        values = secrets.decrypt(tool.secrets_token) if tool.secrets_token else ""
    return (
        *(tool.description, tool.kind, tool.idempotent, tool.definition_hash, tool.state),
        *(orjson.dumps(tool.parameters), orjson.dumps(tool.config), values),
    )


def _sentence(errors: Any) -> str:
    """Return the errors of fields as one text."""
    return " ".join(f"{name}: {' '.join(map(str, texts))}" for name, texts in dict(errors).items())
