"""Create the platform's tables, with the rows that `peer/schema.sql` creates for the peer.

Runs in its own process, because Django's settings name one database: `python -m benchmarks.fill ROWS`.
"""

import sys
import uuid
from datetime import UTC, datetime

import django
from django.core.management import call_command
from django.db import connection, transaction

MAX_QUOTA = 1_000_000


def fill(rows: int) -> None:
    """Create twelve tenants: ten share `rows` executions, one runs agents, one has 10,000 executions."""
    call_command("migrate", interactive=False, verbosity=0)
    with transaction.atomic():
        _tenants()
        _agents()
        _executions(rows, "lpad((1 + mod(i, 10))::text, 12, '0')")
        _executions(10_000, "lpad('12', 12, '0')")
    with connection.cursor() as cursor:
        cursor.execute("VACUUM (ANALYZE)")


def _id(kind: int, number: int) -> uuid.UUID:
    return uuid.UUID(f"{kind}0000000-0000-4000-8000-{number:012d}")


def _tenants() -> None:
    from map_project.tenants.keys import store_key
    from map_project.tenants.models import Tenant

    for number in range(1, 13):
        tenant = Tenant.objects.create(
            pk=_id(0, number), name=f"tenant-{number}", rate_limit_requests=MAX_QUOTA
        )
        store_key(tenant=tenant, key=f"tenant-{number}-key")


def _agents() -> None:
    from agents.models import Agent, AgentTool
    from tools.models import Tool

    runner = _id(0, 11)
    tools = [
        Tool(
            id=_id(1, number),
            tenant_id=runner,
            name=f"tool-{number}",
            description=f"A tool that does useful thing number {number} for the agents of this tenant.",
        )
        for number in range(1, 21)
    ]
    agents = [
        Agent(
            id=_id(2, number),
            tenant_id=runner,
            name=f"agent-{number}",
            role="researcher",
            description=f"Agent {number} researches things.",
        )
        for number in range(1, 11)
    ]
    Tool.objects.bulk_create(tools)
    Agent.objects.bulk_create(agents)
    AgentTool.objects.bulk_create(
        AgentTool(agent=agent, tool=tool) for agent in agents for tool in tools[:5]
    )
    Agent.objects.bulk_create(
        Agent(
            id=_id(3, number),
            tenant_id=_id(0, number),
            name="hist-agent",
            role="researcher",
            description="x",
        )
        for number in range(1, 13)
        if number != 11
    )


def _executions(rows: int, tenant_digits: str) -> None:
    """Create an execution with the ORM, and copies in SQL in which some columns differ.

    So a new column needs no change here.
    """
    from executions.models import Execution

    original = Execution.objects.create(
        tenant_id=_id(0, 1),
        agent_id=_id(3, 1),
        agent_name="hist-agent",
        prompt="-",
        model="gpt-4o",
        response="-",
        status=Execution.Status.SUCCEEDED,
        latency_ms=1,
        request_id="bench",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    created_at = "t.created_at + i * interval '10 second'"
    differing = {
        "id": f"uuidv7({created_at} - now())",
        "tenant_id": f"('00000000-0000-4000-8000-' || {tenant_digits})::uuid",
        "agent_id": f"('30000000-0000-4000-8000-' || {tenant_digits})::uuid",
        "prompt": "'Please summarise document number ' || i || ' and list the most important points in it, "
        "with references.'",
        "response": "'[gpt-4o] researcher hist-agent: ' || repeat(md5(i::text), 6)",
        "created_at": created_at,
    }
    columns = [field.column or "" for field in Execution._meta.concrete_fields]
    values = [differing.get(column, f"t.{column}") for column in columns]
    table = Execution._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {table} ({', '.join(columns)}) SELECT {', '.join(values)} "
            f"FROM {table} t, generate_series(1, %s) i WHERE t.id = %s",
            [rows, original.pk],
        )
        cursor.execute(f"DELETE FROM {table} WHERE id = %s", [original.pk])


if __name__ == "__main__":
    django.setup()
    fill(int(sys.argv[1]))
