"""Notices between processes that an execution has new events, over Redis.

A notice may be lost, and without Redis there are none: a reader also looks regularly.
"""

import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from django_redis import get_redis_connection
from redis.exceptions import RedisError

CHANNEL = "map:events"
# A reader looks after this time without a notice: while this process receives notices, and otherwise.
_POLL_SECONDS = 5.0
_POLL_SECONDS_WITHOUT_REDIS = 1.0

_waiting: dict[uuid.UUID, set[threading.Event]] = {}
_lock = threading.Lock()
_listener: threading.Thread | None = None
_is_subscribed = threading.Event()


def publish(execution_ids: Iterable[uuid.UUID]) -> None:
    """Announce new events, or the end, of executions."""
    message = " ".join(each.hex for each in execution_ids)
    with suppress(RedisError, NotImplementedError):
        get_redis_connection("default").publish(CHANNEL, message)


@contextmanager
def noticed(execution_id: uuid.UUID) -> Iterator[threading.Event]:
    """Yield an event that is set when there may be news of the execution."""
    _start_listener()
    event = threading.Event()
    with _lock:
        _waiting.setdefault(execution_id, set()).add(event)
    try:
        yield event
    finally:
        with _lock:
            events = _waiting[execution_id]
            events.discard(event)
            if not events:
                del _waiting[execution_id]


def wait(notice: threading.Event) -> None:
    """Wait for a notice, for a few seconds at most: it may have been lost."""
    notice.wait(_POLL_SECONDS if _is_subscribed.is_set() else _POLL_SECONDS_WITHOUT_REDIS)


def _start_listener() -> None:
    global _listener  # noqa: PLW0603  one thread for each process that has readers
    with _lock:
        if _listener is None:
            _listener = threading.Thread(target=_listen, name="events", daemon=True)
            _listener.start()


def _listen() -> None:
    while True:
        with suppress(RedisError):
            _receive()
        _is_subscribed.clear()
        time.sleep(_POLL_SECONDS_WITHOUT_REDIS)


def _receive() -> None:
    with get_redis_connection("default").pubsub(ignore_subscribe_messages=True) as subscription:
        subscription.subscribe(CHANNEL)
        _is_subscribed.set()
        while True:
            if message := subscription.get_message(timeout=60.0):
                for text in message["data"].decode().split():
                    _set(uuid.UUID(text))


def _set(execution_id: uuid.UUID) -> None:
    with _lock:
        for event in _waiting.get(execution_id, ()):
            event.set()
