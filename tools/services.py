"""Writes of tools whose parts must fit together; the API and the admin call the same ones."""

import uuid
from collections.abc import Mapping
from typing import Any

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models.functions import Now

from map_project.api import secrets
from map_project.api.errors import validation_error
from map_project.api.ids import uuid7
from map_project.postgresql.compiled import Row
from tools import queries
from tools.definitions import misfits
from tools.invokers import INVOKERS
from tools.models import Tool, no_parameters

# These alone cannot break what fits.
_TEXTS = {"name", "description"}


def create_tool(*, tenant_id: uuid.UUID, **fields: Any) -> Row:
    """A new tool, as it is answered. Raises ApiError `VALIDATION_ERROR`, and IntegrityError where the
    name is taken.

    `http` is the configuration of the kind `http`; `secrets` maps names to values, or to None.
    Each field by itself has been looked at (`tools.serializers`, or `Tool.clean`).
    """
    if fields.keys() <= _TEXTS:
        return queries.NEW(id=uuid7(), tenant_id=tenant_id, parameters=no_parameters(), **fields)
    tool = Tool(tenant_id=tenant_id)
    _apply(tool, fields)
    tool.save(force_insert=True)
    (row,) = queries.ONE(tenant_id=tenant_id, pk=tool.pk)
    return row


def change_tool(*, tenant_id: uuid.UUID, pk: uuid.UUID, fields: Mapping[str, Any]) -> Row | None:
    """Changes what is given, and gives the tool as it is answered; None where the tenant has none such.
    Raises as above.
    """
    if fields.keys() <= _TEXTS:
        texts = {name: fields.get(name) for name in _TEXTS}
        return queries.CHANGE(tenant_id=tenant_id, pk=pk, **texts)
    with transaction.atomic():
        # What is sent must fit what is there, and secrets are added to those that are there.
        mine = Tool.objects.select_for_update(no_key=True).filter(tenant_id=tenant_id, pk=pk)
        changed = mine.first()
        if changed is None:
            return None
        _apply(changed, fields)
        columns = {name: getattr(changed, name) for name in _COLUMNS}
        Tool.objects.filter(pk=pk).update(**columns, updated_at=Now())
        return queries.ONE(tenant_id=tenant_id, pk=pk).first()


_COLUMNS = (
    "name",
    "description",
    "kind",
    "parameters",
    "config",
    "secrets_token",
    "secret_names",
)


def _apply(tool: Tool, fields: Mapping[str, Any]) -> None:
    for name in ("name", "description", "kind", "parameters"):
        if name in fields:
            setattr(tool, name, fields[name])
    problems: dict[str, list[str]] = {}
    if tool.kind not in INVOKERS:
        # What it had of another kind is forgotten.
        tool.config, tool.secrets_token, tool.secret_names = None, "", []
    for kind in INVOKERS:
        if fields.get(kind) is not None and kind != tool.kind:
            problems[kind] = [f'Only a tool of the kind {kind} has it: send "kind": "{kind}".']
        elif kind in fields and kind == tool.kind:
            tool.config = fields[kind]
    if sent := fields.get("secrets"):
        problems |= _keep_secrets(tool, sent)
    # In the API the configuration bears the name of its kind.
    found = misfits(tool)
    problems |= {tool.kind if name == "config" else name: found[name] for name in found}
    if problems:
        raise validation_error(problems)


def _keep_secrets(tool: Tool, sent: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Sets what has a value, removes what is None, leaves the others; gives what is wrong with that."""
    if tool.kind not in INVOKERS:
        return {"secrets": ["A declared tool is not called, and has no secrets."]}
    try:
        kept = _opened(tool) if set(tool.secret_names) - sent.keys() else {}
        opened = {**kept, **sent}
        left = {name: value for name, value in sorted(opened.items()) if value is not None}
        tool.secrets_token = secrets.encrypt(orjson.dumps(left).decode()) if left else ""
    except secrets.Unreadable:
        others = ", ".join(sorted(set(tool.secret_names) - sent.keys()))
        return {"secrets": [f"{others} cannot be read any more: set or remove it as well."]}
    except ImproperlyConfigured:
        return {"secrets": ["This server keeps no secrets: its operator has set no SECRETS_KEYS."]}
    tool.secret_names = list(left)
    return {}


def _opened(tool: Tool) -> dict[str, str]:
    opened: dict[str, str] = orjson.loads(secrets.decrypt(tool.secrets_token))
    return opened
