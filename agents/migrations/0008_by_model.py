"""The index for the agents of a language model, created without blocking writes."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("agents", "0007_max_tool_calls")]

    operations = [
        AddIndexConcurrently(
            model_name="agent",
            index=models.Index(
                fields=["model"], condition=models.Q(model__isnull=False), name="agent_by_model"
            ),
        ),
    ]
