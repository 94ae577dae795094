"""When a key was last used, told to the database now and then: no request waits for a write.

Requests note their key in this process' memory; a thread writes the notes once in
`_INTERVAL_SECONDS`, and once more when the process ends. A crash loses at most the last interval.
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

_notes: dict[uuid.UUID, datetime] = {}
_started = threading.Event()
_start_lock = threading.Lock()


def note(key_id: uuid.UUID) -> None:
    """This key was used just now."""
    _notes[key_id] = datetime.now(UTC)
    if not _started.is_set():
        _start()


def flush() -> None:
    """Writes what was noted, unless another process wrote something later. Raises django.db.Error; the
    notes are kept then.
    """
    notes = dict(_notes)
    if not notes:
        return
    ApiKey.objects.bulk_update(
        (
            ApiKey(pk=key_id, last_used_at=Greatest("last_used_at", Value(used_at)))
            for key_id, used_at in notes.items()
        ),
        ["last_used_at"],
        batch_size=500,
    )
    for key_id, used_at in notes.items():
        if _notes.get(key_id) == used_at:
            del _notes[key_id]


def _start() -> None:
    """Lazily, so that the thread lives in the process that serves, not in the one that forked it."""
    with _start_lock:
        if _started.is_set():
            return
        _started.set()
        threading.Thread(target=_run, name="last-used", daemon=True).start()
        atexit.register(_flush_quietly)


def _run() -> None:
    wake = threading.Event()
    while not wake.wait(_INTERVAL_SECONDS):
        _flush_quietly()


def _flush_quietly() -> None:
    try:
        flush()
    except Error as error:
        logger.warning("last use of keys not written yet: %s", type(error).__name__)
    finally:
        connection.close()
