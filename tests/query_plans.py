"""The statements that a function executes, and their plans: what they read, and how."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from django.db import connection

# A deep page is sorted after its ids were found.
MAX_SORTED_ROWS = 101


def check_plans(plans: list[Any], max_blocks: int, max_sorted_rows: int = MAX_SORTED_ROWS) -> None:
    for node in (node for plan in plans for node in nodes(plan["Plan"])):
        assert node["Node Type"] != "Seq Scan", node
        if node["Node Type"] == "Sort":
            assert node["Actual Rows"] <= max_sorted_rows, node
    assert sum(blocks(plan) for plan in plans) <= max_blocks


def plans_of(read: Callable[[], object]) -> list[Any]:
    """Return the plans of the statements that `read` executes."""
    return [explained(sql, params) for sql, params in statements_of(read)]


def statements_of(read: Callable[[], object]) -> list[tuple[str, Any]]:
    statements: list[tuple[str, Any]] = []

    def record(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        statements.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(record):
        read()
    return statements


def explained(sql: str, params: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", params)
        plans = cursor.fetchone()[0]
        return (json.loads(plans) if isinstance(plans, str) else plans)[0]


def blocks(plan: Any) -> int:
    """Return how many blocks were read, from memory or not."""
    return int(plan["Plan"]["Shared Hit Blocks"]) + int(plan["Plan"]["Shared Read Blocks"])


def nodes(plan: Any) -> Iterator[Any]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)
