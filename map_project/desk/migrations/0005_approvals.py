"""Let operators view approvals and decide, and auditors view them."""

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

# Group, permission.
PERMISSIONS = (("operator", "view"), ("operator", "change"), ("auditor", "view"))


def grant(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Grant the permissions. Django creates permissions only after all migrations."""
    ContentType = apps.get_model("contenttypes", "ContentType")
    content_type, _ = ContentType.objects.get_or_create(app_label="executions", model="approval")
    for group, action in PERMISSIONS:
        permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
            content_type=content_type,
            codename=f"{action}_approval",
            defaults={"name": f"Can {action} approval"},
        )
        apps.get_model("auth", "Group").objects.get(name=group).permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("desk", "0004_conversations"), ("executions", "0015_approvals")]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
