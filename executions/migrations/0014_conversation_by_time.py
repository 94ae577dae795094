"""An index for the list of the admin, created without blocking inserts."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("executions", "0013_ordered_output")]

    operations = [
        AddIndexConcurrently(
            model_name="conversation",
            index=models.Index(fields=["created_at", "id"], name="conversation_by_time"),
        ),
    ]
