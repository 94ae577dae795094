"""The names of the counters, and increments of those that do not follow from ended runs."""

from collections.abc import Sequence

from map_project.usage.models import Increment

# Of ended runs. `map_project.usage.folding` has these names as well.
EXECUTIONS = "executions"
TOKENS = "tokens"
COST_USD = "cost_usd"
TOOL_CALLS = "tool_calls"
DURATIONS = "durations"
DURATION_MS = "duration_ms"
# Of other events.
LEASES_EXPIRED = "leases_expired"
WEBHOOK_DELIVERIES = "webhook_deliveries"
RATELIMIT_DENIED = "ratelimit_denied"

# The upper bounds of the histogram of durations, inclusive. Stored counters have these positions.
DURATION_BOUNDS_SECONDS: Sequence[float] = (
    0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600,
)  # fmt: skip


def increase(name: str, amount: int = 1, **labels: str) -> None:
    """Increase a counter, in the current transaction. Locks no row that others use. Raises DatabaseError."""
    Increment.objects.create(name=name, labels=labels, amount=amount)
