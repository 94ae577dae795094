"""Create the groups `operator` and `auditor` with their permissions."""

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# App label, model, verbose name, permissions of operators. Auditors have "view" of all of these models.
# Neither group can delete tenants, keys or executions. Only superusers manage staff users.
MODELS = (
    ("tenants", "tenant", "tenant", ("view", "add", "change")),
    ("tenants", "apikey", "API key", ("view", "add", "change")),
    ("tools", "tool", "tool", ("view", "add", "change", "delete")),
    ("agents", "agent", "agent", ("view", "add", "change", "delete")),
    ("agents", "agenttool", "tool of an agent", ("view", "add", "change", "delete")),
    ("agents", "languagemodel", "language model", ("view", "add", "change", "delete")),
    ("executions", "execution", "execution", ("view",)),
    ("admin", "logentry", "log entry", ("view",)),
    ("axes", "accessattempt", "access attempt", ("view", "delete")),
    ("auth", "user", "user", ()),
    ("auth", "group", "group", ()),
)


def create_groups(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Create missing groups and permissions. Django creates permissions only after all migrations."""
    Group = apps.get_model("auth", "Group")
    operators, _ = Group.objects.get_or_create(name="operator")
    auditors, _ = Group.objects.get_or_create(name="auditor")
    for app_label, model, verbose_name, actions in MODELS:
        for action in actions:
            operators.permissions.add(_permission(apps, app_label, model, verbose_name, action))
        auditors.permissions.add(_permission(apps, app_label, model, verbose_name, "view"))


def _permission(apps: Any, app_label: str, model: str, verbose_name: str, action: str) -> Any:
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    content_type, _ = ContentType.objects.get_or_create(app_label=app_label, model=model)
    permission, _ = Permission.objects.get_or_create(
        content_type=content_type,
        codename=f"{action}_{model}",
        defaults={"name": f"Can {action} {verbose_name}"},
    )
    return permission


class Migration(migrations.Migration):
    dependencies = [
        ("desk", "0001_initial"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("axes", "0010_accessattemptexpiration"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("tenants", "0001_initial"),
        ("tools", "0001_initial"),
        ("agents", "0003_language_model"),
        ("executions", "0001_initial"),
    ]

    operations = [migrations.RunPython(create_groups, migrations.RunPython.noop)]
