"""The indexes of conversations, created without blocking inserts."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models

CREATE = """
CREATE UNIQUE INDEX CONCURRENTLY conversation_busy ON executions_execution (conversation_id)
WHERE conversation_id IS NOT NULL AND status IN ('queued', 'running')
"""


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("executions", "0010_conversations")]

    operations = [
        AddIndexConcurrently(
            model_name="execution",
            index=models.Index(
                fields=["conversation_id", "created_at", "id"],
                condition=models.Q(conversation_id__isnull=False),
                name="execution_by_conversation",
            ),
        ),
        # AddConstraint would block inserts while it reads the table.
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(CREATE, "DROP INDEX CONCURRENTLY conversation_busy")
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name="execution",
                    constraint=models.UniqueConstraint(
                        fields=("conversation_id",),
                        condition=models.Q(
                            conversation_id__isnull=False, status__in=("queued", "running")
                        ),
                        name="conversation_busy",
                    ),
                )
            ],
        ),
    ]
