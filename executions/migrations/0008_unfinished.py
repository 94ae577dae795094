"""The index of unfinished executions, created without blocking inserts."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("executions", "0007_leases")]

    operations = [
        AddIndexConcurrently(
            model_name="execution",
            index=models.Index(
                fields=["status", "tenant", "created_at"],
                condition=models.Q(status__in=("queued", "running")),
                name="execution_unfinished",
            ),
        ),
        RemoveIndexConcurrently(model_name="execution", name="execution_running"),
    ]
