"""The index for the admin's search, created without blocking inserts."""

from django.contrib.postgres.indexes import HashIndex
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("executions", "0004_errors_and_calls")]

    operations = [
        AddIndexConcurrently(
            model_name="execution",
            index=HashIndex(fields=["request_id"], name="execution_by_request"),
        ),
    ]
