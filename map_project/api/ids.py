"""Identifiers that grow with time, so that the indexes they stand in stay dense."""

import uuid

import uuid_utils.compat


def uuid7() -> uuid.UUID:
    """A UUID of version 7 (RFC 9562): 48 bits of Unix milliseconds, then random ones."""
    return uuid_utils.compat.uuid7()
