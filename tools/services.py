"""Writing tools. The API and the admin call these functions."""

import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.functions import Now

from map_project.api import secrets
from map_project.api.constraints import constraint_errors
from map_project.api.errors import ValidationFailed
from tools.definitions import ONLY_CALLABLE, Errors, cross_field_errors
from tools.errors import DuplicateToolName
from tools.invokers import INVOKERS
from tools.models import Tool


def create_tool(*, tenant_id: uuid.UUID, **fields: Any) -> Tool:
    """Create a tool from the validated fields of the API.

    The configuration has the name of its kind. `secrets` maps names to values or None. Raises
    ValidationFailed for fields that contradict each other, and DuplicateToolName.
    """
    tool = Tool(tenant_id=tenant_id)
    set_fields(tool, fields)
    with _unique_name(tool):
        tool.save(force_insert=True)
    return tool


@transaction.atomic
def update_tool(*, tool: Tool, fields: Mapping[str, Any]) -> Tool:
    """Change the given fields of a tool, and return it. Raises as `create_tool`, and Tool.DoesNotExist."""
    if not fields:
        return tool
    # Locked, because the fields must agree with the current row, and secrets are merged with its secrets.
    tool = Tool.objects.select_for_update(no_key=True).get(pk=tool.pk)
    set_fields(tool, fields)
    tool.updated_at = Now()
    with _unique_name(tool):
        tool.save(force_update=True)
    tool.refresh_from_db(fields=["updated_at"])
    return tool


def _unique_name(tool: Tool) -> Any:
    return constraint_errors({"tool_name_unique": DuplicateToolName(name=tool.name)})


def set_fields(tool: Tool, fields: Mapping[str, Any]) -> None:
    """Set the fields. Raises ValidationFailed if they contradict each other."""
    method = _method(tool)
    if fields.get("kind", tool.kind) != tool.kind:
        tool.config, tool.definition_hash, tool.state = None, "", Tool.State.READY
    for name in fields.keys() - {*INVOKERS, "secrets"}:
        setattr(tool, name, fields[name])
    if tool.kind not in INVOKERS:
        # A tool that becomes declared loses what it had as a callable one.
        tool.secrets_token, tool.secret_names, tool.approval = "", [], Tool.Approval.NEVER
    errors: Errors = {
        other: [f'Allowed only when kind is "{other}".']
        for other in INVOKERS
        if other != tool.kind and fields.get(other) is not None
    }
    if tool.kind in INVOKERS:
        tool.config = fields.get(tool.kind, tool.config)
    else:
        always = fields.get("approval") == Tool.Approval.ALWAYS
        refused = {"idempotent": fields.get("idempotent"), "approval": always}
        errors |= {name: [ONLY_CALLABLE] for name, is_set in refused.items() if is_set}
    if _method(tool) != method and "idempotent" not in fields:
        tool.idempotent = _method(tool) == "GET"
    if values := fields.get("secrets"):
        errors |= _set_secrets(tool, values)
    # In the API the configuration has the name of its kind.
    errors |= {
        tool.kind if name == "config" else name: texts
        for name, texts in cross_field_errors(tool).items()
    }
    if errors:
        raise ValidationFailed(fields=errors)


def _method(tool: Tool) -> object:
    """Return the HTTP method of a tool, or None. Its configuration may not have been validated yet."""
    return tool.config.get("method") if isinstance(tool.config, dict) else None


def _set_secrets(tool: Tool, values: Mapping[str, str | None]) -> Errors:
    """Set the secrets with a value, remove those with None, keep the others. Returns errors."""
    if tool.kind not in INVOKERS:
        return {"secrets": [ONLY_CALLABLE]}
    unchanged = sorted(set(tool.secret_names) - values.keys())
    try:
        stored = orjson.loads(secrets.decrypt(tool.secrets_token)) if unchanged else {}
        merged = {**stored, **values}
        kept = {name: value for name, value in sorted(merged.items()) if value is not None}
        tool.secrets_token = secrets.encrypt(orjson.dumps(kept).decode()) if kept else ""
    except secrets.Unreadable:
        return {
            "secrets": [
                f"{', '.join(unchanged)} can no longer be decrypted. Set or remove it as well."
            ]
        }
    except ImproperlyConfigured:
        return {"secrets": ["This server cannot store secrets: SECRETS_KEYS is not set."]}
    tool.secret_names = list(kept)
    return {}
