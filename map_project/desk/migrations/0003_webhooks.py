"""Let operators view and deactivate webhooks, and auditors view them."""

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# Group, model, verbose name, permission.
PERMISSIONS = (
    ("operator", "webhookendpoint", "webhook", "view"),
    ("operator", "webhookendpoint", "webhook", "change"),
    ("operator", "webhookdelivery", "webhook delivery", "view"),
    ("auditor", "webhookendpoint", "webhook", "view"),
    ("auditor", "webhookdelivery", "webhook delivery", "view"),
)


def grant(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Grant the permissions. Django creates permissions only after all migrations."""
    ContentType = apps.get_model("contenttypes", "ContentType")
    Permission = apps.get_model("auth", "Permission")
    for group, model, verbose_name, action in PERMISSIONS:
        content_type, _ = ContentType.objects.get_or_create(app_label="webhooks", model=model)
        permission, _ = Permission.objects.get_or_create(
            content_type=content_type,
            codename=f"{action}_{model}",
            defaults={"name": f"Can {action} {verbose_name}"},
        )
        apps.get_model("auth", "Group").objects.get(name=group).permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("desk", "0002_groups"), ("webhooks", "0001_webhooks")]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
