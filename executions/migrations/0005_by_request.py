"""The index for the admin's search, created without blocking inserts."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("executions", "0004_errors_and_calls")]

    operations = [
        AddIndexConcurrently(
            model_name="execution",
            index=models.Index(fields=["request_id"], name="execution_by_request"),
        ),
    ]
