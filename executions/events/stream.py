"""The events of an execution as a stream of server-sent events."""

import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from django.conf import settings
from django.db import DatabaseError
from django.http import StreamingHttpResponse
from rest_framework.request import Request

from executions.errors import TooManyStreams
from executions.events.items import Event
from executions.events.reading import follow
from executions.results import Run
from map_project.api.errors import BadRequest
from ratelimit import leases
from ratelimit.middleware import take_lease

# Clients and proxies close a connection that is silent for long.
KEEP_ALIVE = ": keep-alive\n\n"
DONE = "data: [DONE]\n\n"
HEADERS = {
    "Content-Type": "text/event-stream",
    "Cache-Control": "no-cache",
    # nginx would collect the events.
    "X-Accel-Buffering": "no",
}

# Returns the frames of an event, or "" if it has none.
Framing = Callable[[Event], str]

_open_count = 0


class EventStream:
    """The content of a response: frames of events, while they happen.

    `close` is called at the end of the response in any case, also if it was never read.
    """

    def __init__(self, frames: Iterator[str], closing: ExitStack) -> None:
        self._frames = frames
        self._closing = closing

    def __iter__(self) -> Iterator[str]:
        try:
            yield from self._frames
        except DatabaseError:
            # It ends without its last event, so the client requests the rest.
            return

    def close(self) -> None:
        self._closing.close()


def open_count() -> int:
    """Return the number of open streams of this process."""
    return _open_count


@contextmanager
def open_stream() -> Iterator[ExitStack]:
    """Take a place among the open streams of this process. Raises TooManyStreams.

    Yields what has to be closed at the end of the stream. If the block raises, it is closed there.
    """
    global _open_count  # noqa: PLW0603  of the process
    if _open_count >= settings.MAX_OPEN_STREAMS:
        raise TooManyStreams
    _open_count += 1
    closing = ExitStack()
    closing.callback(_leave)
    try:
        yield closing
    except BaseException:
        closing.close()
        raise


def _leave() -> None:
    global _open_count  # noqa: PLW0603
    _open_count -= 1


def stream_run(
    request: Request, run: Run, closing: ExitStack, framing: Framing
) -> StreamingHttpResponse:
    """Return the stream of a run that has just been stored, and make the rest of the run.

    If the client disconnects, the request ends with the run, so that a server that stops waits for it.
    """
    queue = None
    if run.stream is not None:
        lease = take_lease(request)
        thread = run.stream.start(on_end=lambda: leases.release(lease) if lease else None)
        closing.callback(thread.join)
        closing.callback(run.stream.events.disconnect)
        queue = run.stream.queue
    return _response(_frames(follow(run.id, queue=queue), framing), closing)


def stream_execution(
    execution_id: uuid.UUID, after: int, closing: ExitStack, framing: Framing
) -> StreamingHttpResponse:
    """Return the stream of the events of an execution after a number."""
    return _response(_frames(follow(execution_id, after), framing), closing)


def _response(frames: Iterator[str], closing: ExitStack) -> StreamingHttpResponse:
    return StreamingHttpResponse(EventStream(frames, closing), headers=HEADERS)


def _frames(batches: Iterator[list[Event]], framing: Framing) -> Iterator[str]:
    for events in batches:
        if text := "".join(map(framing, events)) if events else KEEP_ALIVE:
            yield text
    yield DONE


def numbered_frame(event: Event) -> str:
    """Return an event with the field `id`, which clients send back as `Last-Event-ID`."""
    return f"id: {event.number}\n{plain_frame(event)}"


def plain_frame(event: Event) -> str:
    """Return an event as the specification has it."""
    return f"event: {event.type}\ndata: {event.data}\n\n"


def event_number(text: str | None, name: str) -> int | None:
    """Return the number of an event in a query parameter or a header, or None without one.

    Raises BadRequest.
    """
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise BadRequest(f"{name} must be the number of an event: an integer from 0 to 999999999.")
    return int(text)
