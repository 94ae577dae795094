"""Moves ended runs into the hourly totals, and increments into the counters.

Every process calls `fold_usage` every few seconds; an advisory lock lets one do it at a time. So only one
process updates the rows of the totals, and a run that ends waits for none of them. There is no mark up to
which rows are counted: a row that is not committed yet is not visible, and is folded by a later call.
"""

from django.db import connection, transaction

from map_project.postgresql.queries import AdvisoryLock, try_lock
from map_project.usage.counters import DURATION_BOUNDS_SECONDS

BATCH = 5_000
# Of one call. After an interruption, the next calls fold the rest.
MAX_BATCHES = 20

# In milliseconds, each the first that is above a bound.
_BOUNDS_MS = [round(bound * 1000) + 1 for bound in DURATION_BOUNDS_SECONDS]

# The names and labels of counters are those of `map_project.usage.counters`.
_FOLD_RUNS = """
WITH batch AS (
    DELETE FROM usage_endedrun
    WHERE execution_id IN (SELECT execution_id FROM usage_endedrun LIMIT %s) RETURNING *
), sums AS (
    SELECT tenant_id, hour, model, provider, agent_id, max(agent_name) AS agent_name, key_prefix, status,
        count(*) AS runs, sum(input_tokens) AS input_tokens, sum(output_tokens) AS output_tokens,
        sum(cost_usd) AS cost_usd, sum(tool_calls) AS tool_calls,
        sum(failed_tool_calls) AS failed_tool_calls, sum(latency_ms) AS latency_ms
    FROM batch GROUP BY tenant_id, hour, model, provider, agent_id, key_prefix, status
), hours AS (
    INSERT INTO usage_hourlyusage AS total (
        tenant_id, hour, model, provider, agent_id, agent_name, key_prefix, status,
        runs, input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms
    )
    SELECT tenant_id, hour, model, provider, agent_id, agent_name, key_prefix, status,
        runs, input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms
    FROM sums
    ON CONFLICT (tenant_id, hour, model, provider, agent_id, key_prefix, status) DO UPDATE SET
        agent_name = excluded.agent_name,
        runs = total.runs + excluded.runs,
        input_tokens = total.input_tokens + excluded.input_tokens,
        output_tokens = total.output_tokens + excluded.output_tokens,
        cost_usd = total.cost_usd + excluded.cost_usd,
        tool_calls = total.tool_calls + excluded.tool_calls,
        failed_tool_calls = total.failed_tool_calls + excluded.failed_tool_calls,
        latency_ms = total.latency_ms + excluded.latency_ms
), durations AS (
    SELECT provider, width_bucket(latency_ms, %s::bigint[]) AS bucket, count(*) AS runs,
        sum(latency_ms) AS latency_ms
    FROM batch GROUP BY 1, 2
), amounts AS (
    SELECT sample.* FROM sums, LATERAL (VALUES
        ('executions', jsonb_build_object('provider', provider, 'status', status), runs::numeric),
        ('tokens', jsonb_build_object('direction', 'input', 'model', model), input_tokens),
        ('tokens', jsonb_build_object('direction', 'output', 'model', model), output_tokens),
        ('cost_usd', '{}', cost_usd),
        ('tool_calls', '{"outcome": "succeeded"}', tool_calls - failed_tool_calls),
        ('tool_calls', '{"outcome": "failed"}', failed_tool_calls)
    ) AS sample (name, labels, amount)
    UNION ALL
    SELECT 'durations', jsonb_build_object('provider', provider, 'bucket', bucket::text), runs
    FROM durations
    UNION ALL
    SELECT 'duration_ms', jsonb_build_object('provider', provider), latency_ms FROM durations
), counters AS (
    INSERT INTO usage_counter AS counter (name, labels, value)
    SELECT name, labels, sum(amount) FROM amounts GROUP BY name, labels
    ON CONFLICT (name, labels) DO UPDATE SET value = counter.value + excluded.value
)
SELECT count(*) FROM batch
"""

_FOLD_INCREMENTS = """
WITH batch AS (
    DELETE FROM usage_increment WHERE id IN (SELECT id FROM usage_increment LIMIT %s) RETURNING *
), counters AS (
    INSERT INTO usage_counter AS counter (name, labels, value)
    SELECT name, labels, sum(amount) FROM batch GROUP BY name, labels
    ON CONFLICT (name, labels) DO UPDATE SET value = counter.value + excluded.value
)
SELECT count(*) FROM batch
"""


def fold_usage() -> None:
    """Add what has been committed to the totals, unless another process does. Raises DatabaseError."""
    for _ in range(MAX_BATCHES):
        if not _fold_batch():
            break


@transaction.atomic
def _fold_batch() -> bool:
    """Fold one batch of each. Return whether there may be another one."""
    if not try_lock(AdvisoryLock.FOLD_USAGE):
        return False
    with connection.cursor() as cursor:
        cursor.execute(_FOLD_RUNS, [BATCH, _BOUNDS_MS])
        runs: int = cursor.fetchone()[0]
        cursor.execute(_FOLD_INCREMENTS, [BATCH])
        increments: int = cursor.fetchone()[0]
    return max(runs, increments) == BATCH
