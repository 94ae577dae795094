"""A conversation stays busy while its run waits for approvals. The index is created without blocking inserts."""

from django.db import migrations, models

_COLUMNS = (
    "ON executions_execution (conversation_id) WHERE conversation_id IS NOT NULL AND status IN"
)


def _replace(statuses: str) -> tuple[str, ...]:
    return (
        # Of an interrupted migration.
        "DROP INDEX CONCURRENTLY IF EXISTS conversation_busy_new",
        f"CREATE UNIQUE INDEX CONCURRENTLY conversation_busy_new {_COLUMNS} ({statuses})",
        "DROP INDEX CONCURRENTLY IF EXISTS conversation_busy",
        "ALTER INDEX conversation_busy_new RENAME TO conversation_busy",
    )


class Migration(migrations.Migration):
    atomic = False

    dependencies = [("executions", "0015_approvals")]

    operations = [
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    _replace("'queued', 'running', 'requires_action'"),
                    _replace("'queued', 'running'"),
                )
            ],
            state_operations=[
                migrations.RemoveConstraint("execution", "conversation_busy"),
                migrations.AddConstraint(
                    "execution",
                    models.UniqueConstraint(
                        fields=("conversation_id",),
                        condition=models.Q(
                            conversation_id__isnull=False,
                            status__in=("queued", "running", "requires_action"),
                        ),
                        name="conversation_busy",
                    ),
                ),
            ],
        ),
    ]
