"""A million executions with two steps each, and a log of changes, in tables of a separate schema."""

from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.backends.utils import CursorWrapper

from executions.models import Execution
from map_project.tenants.models import Tenant

ROWS, TENANTS = 1_000_000, 200
SCHEMA = "desk_scale"
_TABLES = ("executions_execution", "executions_step", "django_admin_log")

_FILL = f"""
INSERT INTO {SCHEMA}.executions_execution
    (id, tenant_id, agent_id, agent_name, prompt, model, response, status, error_code, latency_ms,
     request_id, created_at)
SELECT
    gen_random_uuid(),
    (SELECT array_agg(id) FROM {SCHEMA}.tenants)[1 + floor({TENANTS} * power(random(), 3))],
    gen_random_uuid(), 'agent', 'Summarise ticket ' || i, 'gpt-4o', repeat('A few words. ', 16),
    CASE WHEN chance < .001 THEN 'queued' WHEN chance < .0015 THEN 'running'
        WHEN chance < .96 THEN 'succeeded' WHEN chance < .99 THEN 'failed' ELSE 'incomplete' END,
    CASE WHEN chance BETWEEN .96 AND .98 THEN 'MODEL_TIMEOUT' WHEN chance BETWEEN .98 AND .99
        THEN 'MODEL_ERROR' ELSE '' END,
    (200 + 8000 * random() * random())::int, i::text,
    now() - interval '30 days' * (1 - i::float / {ROWS})
FROM (SELECT i, random() AS chance FROM generate_series(1, {ROWS}) AS i) AS numbers
"""

# A call of the model and one of a tool in each run. One in 50 calls of a tool fails.
_FILL_STEPS = f"""
INSERT INTO {SCHEMA}.executions_step
    (execution_id, position, kind, name, input, output, latency_ms, error, created_at)
SELECT
    id, position, CASE position WHEN 0 THEN 'model' ELSE 'tool' END,
    CASE position WHEN 0 THEN model ELSE 'tool ' || number % 20 END,
    repeat('A few words. ', 16), repeat('A few words. ', 16), (200 + 8000 * random() * random())::int,
    CASE WHEN position = 1 AND number % 50 = 0 THEN 'timeout' ELSE '' END, created_at
FROM (SELECT *, request_id::int AS number FROM {SCHEMA}.executions_execution ORDER BY created_at) AS runs,
    generate_series(0, 1) AS position
"""

# Changes of the tenants and of executions, by one user.
_FILL_LOG = f"""
INSERT INTO {SCHEMA}.django_admin_log
    (action_time, user_id, content_type_id, object_id, object_repr, action_flag, change_message)
SELECT created_at, %s, CASE WHEN number %% 2 = 0 THEN %s ELSE %s END,
    CASE WHEN number %% 2 = 0 THEN tenant_id ELSE id END, 'row', 2, 'name: "a" → "b"; is_active: true → false'
FROM (SELECT *, request_id::int AS number FROM {SCHEMA}.executions_execution) AS runs
WHERE number %% 10 < 2
"""

# The totals of the runs, of 50 agents and 5 keys of each tenant.
_FILL_USAGE = f"""
INSERT INTO usage_hourlyusage (tenant_id, hour, model, provider, agent_id, agent_name, key_prefix, status,
    runs, input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms)
SELECT tenant_id, date_trunc('hour', created_at, 'UTC'), model, 'mock', md5((number % 50)::text)::uuid,
    'agent', 'map_' || number % 5, status, count(*), 1000, 100, 0.01, 2, 1, 100
FROM (SELECT *, request_id::int AS number FROM {SCHEMA}.executions_execution) AS runs
GROUP BY 1, 2, 3, 5, 7, 8
"""


def create_rows(cursor: CursorWrapper) -> None:
    """Create the schema with its tables. The tenants are in their usual table."""
    cursor.execute(f"CREATE SCHEMA {SCHEMA}")
    for table in _TABLES:
        cursor.execute(f"CREATE TABLE {SCHEMA}.{table} (LIKE {table} INCLUDING ALL)")
    cursor.execute(
        f"CREATE TABLE {SCHEMA}.tenants AS SELECT gen_random_uuid() AS id "
        f"FROM generate_series(1, {TENANTS})"
    )
    cursor.execute(
        "INSERT INTO tenants_tenant (id, name, is_active) "
        f"SELECT id, 'scale-' || id, true FROM {SCHEMA}.tenants"
    )
    cursor.execute(_FILL)
    cursor.execute(_FILL_STEPS)
    cursor.execute(_FILL_USAGE)
    # VACUUM waits for the autovacuum of these tables.
    cursor.execute("SET lock_timeout = 0")
    cursor.execute("VACUUM ANALYZE usage_hourlyusage")
    user = User.objects.create_user("scale", is_active=False)
    types = ContentType.objects.get_for_models(Tenant, Execution)
    cursor.execute(_FILL_LOG, [user.pk, types[Tenant].pk, types[Execution].pk])
    for table in _TABLES:
        cursor.execute(f"VACUUM ANALYZE {SCHEMA}.{table}")
    cursor.execute("RESET lock_timeout")
