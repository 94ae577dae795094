"""Deferred updates of `ApiKey.last_used_at`: requests do not wait for a write.

Requests record the key in memory. A thread writes the records every `_INTERVAL_SECONDS` and at the end of
the process. A crash loses at most one interval.
"""

import atexit
import logging
import threading
import uuid
from datetime import UTC, datetime

from django.db import Error, connection
from django.db.models import Value
from django.db.models.functions import Greatest

from map_project.tenants.models import ApiKey

logger = logging.getLogger("map.tenants")

_INTERVAL_SECONDS = 15.0

_last_uses: dict[uuid.UUID, datetime] = {}
# Taken by the first use, which starts the thread, and never released.
_started = threading.Lock()


def note(key_id: uuid.UUID) -> None:
    """Record that the key is used now."""
    _last_uses[key_id] = datetime.now(UTC)
    if _started.acquire(blocking=False):
        # On first use, so that the thread runs in a gunicorn worker and not in the arbiter.
        threading.Thread(target=_run, name="last-used", daemon=True).start()
        atexit.register(_flush_quietly)


def flush() -> None:
    """Write the records, except where the row has a later time. On django.db.Error, keep and raise."""
    last_uses = dict(_last_uses)
    if not last_uses:
        return
    ApiKey.objects.bulk_update(
        (
            ApiKey(pk=key_id, last_used_at=Greatest("last_used_at", Value(used_at)))
            for key_id, used_at in last_uses.items()
        ),
        ["last_used_at"],
        batch_size=500,
    )
    for key_id, used_at in last_uses.items():
        if _last_uses.get(key_id) == used_at:
            del _last_uses[key_id]


def _run() -> None:
    wake = threading.Event()
    while not wake.wait(_INTERVAL_SECONDS):
        _flush_quietly()


def _flush_quietly() -> None:
    try:
        flush()
    except Error as error:
        logger.warning("last use of API keys not written: %s", type(error).__name__)
    finally:
        connection.close()
