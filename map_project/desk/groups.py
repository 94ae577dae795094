"""The two kinds of staff, for migrations: who may do what.

A migration runs before Django makes the permissions of its own models, so they are made here.
"""

from typing import Any

from django.contrib.auth.management import create_permissions
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

OPERATOR, AUDITOR = "operator", "auditor"

_READ = ("view",)
_WRITE = ("view", "add", "change")
_DELETE = (*_WRITE, "delete")

# Nobody deletes tenants, keys and executions; staff accounts and groups are a superuser's.
OPERATORS = {
    "tenants.tenant": _WRITE,
    "tenants.apikey": _WRITE,
    "tools.tool": _DELETE,
    "agents.agent": _DELETE,
    "agents.agenttool": _DELETE,
    "agents.languagemodel": _DELETE,
    "executions.execution": _READ,
    "admin.logentry": _READ,
    "axes.accessattempt": ("view", "delete"),
}
AUDITORS = dict.fromkeys((*OPERATORS, "auth.user", "auth.group"), _READ)


def grant(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Makes the groups where they are missing, and gives them what stands above; takes nothing."""
    group_model = apps.get_model("auth", "Group")
    for group_name, table in ((OPERATOR, OPERATORS), (AUDITOR, AUDITORS)):
        group, _ = group_model.objects.get_or_create(name=group_name)
        for label, verbs in table.items():
            group.permissions.add(*_permissions(apps, schema_editor, label, verbs))


def _permissions(
    apps: Any, schema_editor: BaseDatabaseSchemaEditor, label: str, verbs: tuple[str, ...]
) -> list[Any]:
    app_label, model_name = label.split(".")
    _make_permissions(apps, schema_editor, app_label)
    found = apps.get_model("auth", "Permission").objects.filter(
        content_type__app_label=app_label, codename__in=[f"{verb}_{model_name}" for verb in verbs]
    )
    assert len(found) == len(verbs), f"{label} lacks a permission"  # noqa: S101
    return list(found)


def _make_permissions(apps: Any, schema_editor: BaseDatabaseSchemaEditor, app_label: str) -> None:
    config = apps.get_app_config(app_label)
    # A migration's stand-in for the application lacks this, and then nothing would be made.
    config.models_module = True
    create_permissions(config, apps=apps, verbosity=0, using=schema_editor.connection.alias)
    config.models_module = None
