"""Calls that a person declined are not counted as tool calls, because they were never made.

No release has counted them, so existing totals stay as they are.
"""

from django.db import migrations

# The errors are those of `executions.steps.NOT_MADE_ERRORS`.
REPLACE_FUNCTION = """
CREATE OR REPLACE FUNCTION usage_record_ended_run() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    made bigint := 0;
    failed bigint := 0;
BEGIN
    IF TG_OP = 'UPDATE' THEN
        SELECT count(*), count(*) FILTER (WHERE error <> '' OR is_running) INTO made, failed
        FROM executions_step
        WHERE execution_id = NEW.id AND kind = 'tool' AND error NOT IN ({not_made});
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
"""
WITH_DECLINED = REPLACE_FUNCTION.format(not_made="'not_called', 'unknown_tool', 'declined'")
WITHOUT_DECLINED = REPLACE_FUNCTION.format(not_made="'not_called', 'unknown_tool'")


class Migration(migrations.Migration):
    dependencies = [("usage", "0002_totals")]

    operations = [migrations.RunSQL(WITH_DECLINED, WITHOUT_DECLINED)]
