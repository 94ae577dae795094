"""A million executions with two steps each, and a log of changes, in tables of a separate schema."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db.backends.utils import CursorWrapper

from executions.models import Execution, Step
from map_project.tenants.models import Tenant
from map_project.usage.models import EndedRun, HourlyUsage
from tests.many_rows import many_rows

ROWS, TENANTS = 1_000_000, 200

_FILL = f"""
INSERT INTO executions_execution
    (id, tenant_id, agent_id, agent_name, prompt, model, response, status, error_code, latency_ms,
     request_id, created_at)
SELECT
    gen_random_uuid(),
    (%s::uuid[])[1 + floor({TENANTS} * power(random(), 3))],
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
_FILL_STEPS = """
INSERT INTO executions_step
    (execution_id, position, kind, name, input, output, latency_ms, error, created_at)
SELECT
    id, position, CASE position WHEN 0 THEN 'model' ELSE 'tool' END,
    CASE position WHEN 0 THEN model ELSE 'tool ' || number %% 20 END,
    repeat('A few words. ', 16), repeat('A few words. ', 16), (200 + 8000 * random() * random())::int,
    CASE WHEN position = 1 AND number %% 50 = 0 THEN 'timeout' ELSE '' END, created_at
FROM (SELECT *, request_id::int AS number FROM executions_execution ORDER BY created_at) AS runs,
    generate_series(0, 1) AS position
"""

# Changes of the tenants and of executions, by one user.
_FILL_LOG = """
INSERT INTO django_admin_log
    (action_time, user_id, content_type_id, object_id, object_repr, action_flag, change_message)
SELECT created_at, %s, CASE WHEN number %% 2 = 0 THEN %s ELSE %s END,
    CASE WHEN number %% 2 = 0 THEN tenant_id ELSE id END, 'row', 2, 'name: "a" → "b"; is_active: true → false'
FROM (SELECT *, request_id::int AS number FROM executions_execution) AS runs
WHERE number %% 10 < 2
"""

# The totals of the runs, of 50 agents and 5 keys of each tenant.
_FILL_USAGE = """
INSERT INTO usage_hourlyusage (tenant_id, hour, model, provider, agent_id, agent_name, key_prefix, status,
    runs, input_tokens, output_tokens, cost_usd, tool_calls, failed_tool_calls, latency_ms)
SELECT tenant_id, date_trunc('hour', created_at, 'UTC'), model, 'mock', md5((number %% 50)::text)::uuid,
    'agent', 'map_' || number %% 5, status, count(*), 1000, 100, 0.01, 2, 1, 100
FROM (SELECT *, request_id::int AS number FROM executions_execution) AS runs
GROUP BY 1, 2, 3, 5, 7, 8
"""


@contextmanager
def many_executions() -> Iterator[CursorWrapper]:
    """Create the rows, and let this thread use them meanwhile. The tenants are in their usual table."""
    tenants = [
        tenant.pk
        for tenant in Tenant.objects.bulk_create(
            Tenant(name=f"scale-{uuid.uuid4()}") for _ in range(TENANTS)
        )
    ]
    user = User.objects.create_user("scale", is_active=False)
    types = ContentType.objects.get_for_models(Tenant, Execution)
    inserts: list[tuple[str, list[Any]]] = [
        (_FILL, [tenants]),
        (_FILL_STEPS, []),
        (_FILL_USAGE, []),
        (_FILL_LOG, [user.pk, types[Tenant].pk, types[Execution].pk]),
    ]
    with many_rows(
        "desk_scale", inserts, Execution, Step, LogEntry, HourlyUsage, EndedRun
    ) as cursor:
        yield cursor
