"""The totals. Records the executions that ended before the triggers were created.

It blocks no writes: the statement sees either no end of an execution, or also its record. The records stay
until this migration is committed, because processes that fold them need the tables that it creates.
"""

import django.db.models.deletion
from django.db import migrations, models

RECORD_EARLIER_RUNS = """
SET LOCAL statement_timeout = 0;
INSERT INTO usage_endedrun (
    execution_id, tenant_id, hour, model, provider, agent_id, agent_name, key_prefix, status,
    input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms
)
SELECT id, tenant_id, date_trunc('hour', COALESCE(finished_at, created_at), 'UTC'), model, provider,
    agent_id, agent_name, key_prefix, status, COALESCE(input_tokens, 0), COALESCE(output_tokens, 0),
    COALESCE(cost_usd, 0), COALESCE(calls.made, 0), COALESCE(calls.failed, 0), latency_ms
FROM executions_execution execution
LEFT JOIN (
    SELECT execution_id, count(*) AS made, count(*) FILTER (WHERE error <> '') AS failed
    FROM executions_step WHERE kind = 'tool' AND error NOT IN ('not_called', 'unknown_tool')
    GROUP BY 1
) calls ON calls.execution_id = execution.id
WHERE status IN ('succeeded', 'incomplete', 'failed', 'cancelled')
    AND NOT EXISTS (SELECT FROM usage_endedrun WHERE execution_id = execution.id);
"""
CREATE_VIEW = """
CREATE VIEW usage_current AS
SELECT id, tenant_id, hour, model, provider, agent_id, agent_name, key_prefix, status, runs,
    input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms
FROM usage_hourlyusage
UNION ALL
SELECT NULL, tenant_id, hour, model, provider, agent_id, agent_name, key_prefix, status, 1,
    input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms
FROM usage_endedrun;
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Counter",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=50)),
                ("labels", models.JSONField()),
                ("value", models.DecimalField(decimal_places=9, max_digits=30)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("name", "labels"), name="counter_once")
                ],
            },
        ),
        migrations.CreateModel(
            name="HourlyUsage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
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
                ("runs", models.BigIntegerField()),
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
                "constraints": [
                    models.UniqueConstraint(
                        fields=(
                            "tenant",
                            "hour",
                            "model",
                            "provider",
                            "agent_id",
                            "key_prefix",
                            "status",
                        ),
                        name="hourly_usage_once",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Usage",
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
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("runs", models.BigIntegerField()),
            ],
            options={
                "db_table": "usage_current",
                "managed": False,
            },
        ),
        migrations.RunSQL(CREATE_VIEW, "DROP VIEW usage_current;"),
        migrations.RunSQL(RECORD_EARLIER_RUNS, migrations.RunSQL.noop),
    ]
