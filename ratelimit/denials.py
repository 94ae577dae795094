"""Counts of the calls that this process has refused. `store_denials` has to be called every few seconds."""

from collections import Counter

from django.db import transaction

from map_project.usage.counters import RATELIMIT_DENIED, increase

# By reason. A refusal must cost less than a run, so it is not stored at once.
_counts: Counter[str] = Counter()


def count(reason: str) -> None:
    """Count a refusal."""
    _counts[reason] += 1


def store_denials() -> None:
    """Add the counts to the counters of the platform. Raises DatabaseError, and keeps them."""
    stored = Counter(_counts)
    with transaction.atomic():
        for reason, number in stored.items():
            increase(RATELIMIT_DENIED, number, reason=reason)
    _counts.subtract(stored)
    for reason in stored:
        if not _counts[reason]:
            del _counts[reason]
