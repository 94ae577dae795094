"""The blocks of the search of the history, and the trigger that marks those whose words are not complete."""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.db.models.deletion
from django.db import migrations, models

# An execution that is inserted with an earlier time, by a command or by hand, is in an existing block. Runs
# never have an earlier time: the condition is false for each of them.
CREATE_TRIGGER = """
CREATE FUNCTION executions_mark_search_block() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE executions_searchblock SET is_stale = true
    WHERE NOT is_stale AND id = (
        SELECT id FROM executions_searchblock
        WHERE tenant_id = NEW.tenant_id
            AND (last_created_at, last_id) >= (NEW.created_at, NEW.id)
        ORDER BY last_created_at, last_id LIMIT 1
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER search_on_insert AFTER INSERT ON executions_execution FOR EACH ROW
    WHEN (NEW.created_at < STATEMENT_TIMESTAMP() - interval '20 seconds')
    EXECUTE FUNCTION executions_mark_search_block();
"""
REMOVE_TRIGGER = """
DROP TRIGGER search_on_insert ON executions_execution;
DROP FUNCTION executions_mark_search_block();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("executions", "0020_reserved_usd"),
        ("tenants", "0006_key_by_age"),
    ]

    operations = [
        migrations.CreateModel(
            name="SearchBlock",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("last_created_at", models.DateTimeField()),
                ("last_id", models.UUIDField()),
                (
                    "words",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.BigIntegerField(), size=None
                    ),
                ),
                ("is_stale", models.BooleanField()),
                (
                    "tenant",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="tenants.tenant",
                    ),
                ),
            ],
            options={
                "indexes": [
                    django.contrib.postgres.indexes.GinIndex(
                        fastupdate=False, fields=["words"], name="search_block_words"
                    ),
                    models.Index(
                        condition=models.Q(("is_stale", True)),
                        fields=["tenant", "last_created_at", "last_id"],
                        name="search_block_stale",
                    ),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        fields=("tenant", "last_created_at", "last_id"),
                        name="search_block_unique",
                    )
                ],
            },
        ),
        # Words are stored apart from their rows, so that the ends of many blocks are read at once.
        migrations.RunSQL(
            "ALTER TABLE executions_searchblock SET (toast_tuple_target = 128)",
            migrations.RunSQL.noop,
        ),
        # Last: it waits for the writes to executions in progress, and holds up others until the commit.
        migrations.RunSQL(CREATE_TRIGGER, REMOVE_TRIGGER),
    ]
