"""The leases in Redis that this process holds. `extend_all` has to be called every few seconds."""

from contextlib import suppress

from ratelimit.limiter import Lease, LimiterUnavailable, default_limiter

_held: set[Lease] = set()


def hold(lease: Lease) -> None:
    """Let `extend_all` extend a lease, until `release`."""
    _held.add(lease)


def release(lease: Lease) -> None:
    """Free what the lease holds. Without Redis, it expires."""
    _held.discard(lease)
    with suppress(LimiterUnavailable):
        default_limiter().release(lease)


def extend_all() -> None:
    """Extend the leases of this process. Raises LimiterUnavailable."""
    if leases := [*_held]:
        default_limiter().extend(leases)
