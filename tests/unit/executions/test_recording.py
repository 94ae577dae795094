"""The events of a run in progress."""

import uuid
from queue import SimpleQueue

from executions.events.items import Event, ItemEvents
from executions.events.recording import RunEvents


def test_a_client_that_has_disconnected_is_sent_no_events() -> None:
    execution_id, queue = uuid.uuid4(), SimpleQueue[Event | None]()
    events = RunEvents(execution_id, 1, ItemEvents(execution_id, 2), queue)
    events.add_text("Hello")
    received_count = queue.qsize()
    assert received_count > 0
    events.disconnect()
    events.add_text(" you")
    assert queue.qsize() == received_count
    # They are stored all the same.
    batch = events.batch(len(events.pending))
    assert batch is not None
    assert '"delta":" you"' in batch.events
