"""The tables of what is not in the totals yet, and the triggers that record the end of an execution."""

import django.db.models.deletion
from django.db import migrations, models

# Step counts of a run that is inserted as ended are 0: its steps cannot exist before it.
RECORD_ENDED_RUNS = """
CREATE FUNCTION usage_record_ended_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    made bigint := 0;
    failed bigint := 0;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT count(*), count(*) FILTER (WHERE error <> '' OR is_running) INTO made, failed
        FROM executions_step
        WHERE execution_id = NEW.id AND kind = 'tool' AND error NOT IN ('not_called', 'unknown_tool');
    END IF;
    INSERT INTO usage_endedrun (
        execution_id, tenant_id, hour, model, provider, agent_id, agent_name, key_prefix, status,
        input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms
    ) VALUES (
        NEW.id, NEW.tenant_id, date_trunc('hour', COALESCE(NEW.finished_at, NEW.created_at), 'UTC'),
        NEW.model, NEW.provider, NEW.agent_id, NEW.agent_name, NEW.key_prefix, NEW.status,
        COALESCE(NEW.input_tokens, 0), COALESCE(NEW.output_tokens, 0), COALESCE(NEW.cost_usd, 0),
        made, failed, NEW.latency_ms
    )
    -- Of a run that was set back to an unfinished status by hand. It must be able to end again.
    ON CONFLICT (execution_id) DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER usage_on_insert AFTER INSERT ON executions_execution FOR EACH ROW
    WHEN (NEW.status IN ('succeeded', 'incomplete', 'failed', 'cancelled'))
    EXECUTE FUNCTION usage_record_ended_run();
CREATE TRIGGER usage_on_update AFTER UPDATE OF status ON executions_execution FOR EACH ROW
    WHEN (NEW.status IN ('succeeded', 'incomplete', 'failed', 'cancelled')
        AND OLD.status NOT IN ('succeeded', 'incomplete', 'failed', 'cancelled'))
    EXECUTE FUNCTION usage_record_ended_run();
"""
REMOVE_TRIGGERS = """
DROP TRIGGER usage_on_update ON executions_execution;
DROP TRIGGER usage_on_insert ON executions_execution;
DROP FUNCTION usage_record_ended_run();
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("executions", "0014_conversation_by_time"),
        ("tenants", "0004_concurrency"),
    ]

    operations = [
        migrations.CreateModel(
            name="Increment",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=50)),
                ("labels", models.JSONField()),
                ("amount", models.DecimalField(decimal_places=9, max_digits=30)),
            ],
        ),
        migrations.CreateModel(
            name="EndedRun",
            fields=[
                ("hour", models.DateTimeField()),
                ("model", models.CharField(max_length=100)),
                ("provider", models.CharField(max_length=50)),
                ("agent_id", models.UUIDField()),
                ("agent_name", models.CharField(max_length=100)),
                ("key_prefix", models.CharField(blank=True, max_length=12)),
                ("status", models.CharField(max_length=20)),
                ("input_tokens", models.BigIntegerField()),
                ("output_tokens", models.BigIntegerField()),
                ("cost_usd", models.DecimalField(decimal_places=9, max_digits=30)),
                ("tool_calls", models.BigIntegerField()),
                ("failed_tool_calls", models.BigIntegerField()),
                ("latency_ms", models.BigIntegerField()),
                ("execution_id", models.UUIDField(primary_key=True, serialize=False)),
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
                "abstract": False,
            },
        ),
        # Last: it waits for the writes to executions in progress, and holds up others until the commit.
        migrations.RunSQL(RECORD_ENDED_RUNS, REMOVE_TRIGGERS),
    ]
