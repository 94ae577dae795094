"""Identifiers that increase with time, which keeps their indexes dense."""

import uuid

import uuid_utils.compat


def uuid7() -> uuid.UUID:
    """Return a UUID of version 7 (RFC 9562): 48 bits of Unix milliseconds, then random ones."""
    return uuid_utils.compat.uuid7()
