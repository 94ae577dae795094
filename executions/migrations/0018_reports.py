"""The indexes of the admin's reports, created without blocking inserts."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("executions", "0017_approval_by_time")]

    operations = [
        AddIndexConcurrently(
            model_name="execution",
            index=models.Index(
                fields=["created_at"],
                include=(
                    *("tenant", "error_code", "error_reason", "stop_reason"),
                    *("model", "provider"),
                ),
                condition=models.Q(status="failed"),
                name="execution_failed",
            ),
        ),
        AddIndexConcurrently(
            model_name="step",
            index=models.Index(
                fields=["created_at"],
                condition=models.Q(kind="tool"),
                name="step_tool_by_time",
            ),
        ),
        AddIndexConcurrently(
            model_name="step",
            index=models.Index(
                fields=["created_at"],
                condition=models.Q(kind="tool") & ~models.Q(error=""),
                name="step_tool_error_by_time",
            ),
        ),
    ]
