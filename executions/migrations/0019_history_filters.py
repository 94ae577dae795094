"""The indexes of the history's filters, created without blocking runs."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("executions", "0018_reports")]

    operations = [
        AddIndexConcurrently(
            model_name="execution",
            index=models.Index(
                fields=["tenant", "agent_id", "-created_at", "-id"],
                include=("model", "status", "key_prefix"),
                name="execution_by_agent",
            ),
        ),
        AddIndexConcurrently(
            model_name="execution",
            index=models.Index(
                fields=["tenant", "key_prefix", "-created_at", "-id"],
                include=("model", "status"),
                name="execution_by_key",
            ),
        ),
        AddIndexConcurrently(
            model_name="execution",
            index=models.Index(
                fields=["tenant", "model", "-created_at", "-id"],
                include=("status",),
                name="execution_by_model",
            ),
        ),
        AddIndexConcurrently(
            model_name="execution",
            index=models.Index(
                fields=["tenant", "status", "-created_at", "-id"], name="execution_by_status"
            ),
        ),
    ]
