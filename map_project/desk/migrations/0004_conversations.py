"""Let operators and auditors view conversations."""

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


def grant(apps: Any, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Grant the permission. Django creates permissions only after all migrations."""
    ContentType = apps.get_model("contenttypes", "ContentType")
    content_type, _ = ContentType.objects.get_or_create(
        app_label="executions", model="conversation"
    )
    permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        content_type=content_type,
        codename="view_conversation",
        defaults={"name": "Can view conversation"},
    )
    for group in apps.get_model("auth", "Group").objects.filter(name__in=("operator", "auditor")):
        group.permissions.add(permission)


class Migration(migrations.Migration):
    dependencies = [("desk", "0003_webhooks"), ("executions", "0010_conversations")]

    operations = [migrations.RunPython(grant, migrations.RunPython.noop)]
