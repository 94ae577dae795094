"""A decoder of server-sent events, as the HTML standard defines them."""

import time
from collections.abc import Iterable, Iterator

# Of one event. A server may send a whole tool call in one.
MAX_EVENT_BYTES = 8 * 1024 * 1024
# After this number of events, other requests of the process are served. A server may send events faster than
# they are read, so that no read ever waits.
_EVENTS_BETWEEN_PAUSES = 100
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def events(chunks: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the name, which may be empty, and the data of each complete event.

    Raises ValueError for an event that is too large.
    """
    name, size, count = b"", 0, 0
    data: list[bytes] = []
    for line in _lines(chunks):
        if not line:
            if content := b"\n".join(data):
                yield name, content
                count += 1
                if count % _EVENTS_BETWEEN_PAUSES == 0:
                    time.sleep(0)
            name, data, size = b"", [], 0
            continue
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            size += len(value)
            if size > MAX_EVENT_BYTES:
                raise ValueError("an event is too large")
            data.append(value)
        elif field == b"event":
            name = value


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the lines without their ends: LF, CRLF or CR. An incomplete last line is left out."""
    # Of the line that is not complete. A CR at its end may belong to a CRLF.
    parts, size, is_first = [b""], 0, True
    for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if b"\n" not in chunk and b"\r" not in chunk and not parts[-2].endswith(b"\r"):
            if size > MAX_EVENT_BYTES:
                raise ValueError("a line is too long")
            continue
        lines = b"".join(parts).splitlines(keepends=True)
        is_complete = lines[-1].endswith(b"\n")
        parts = [b"" if is_complete else lines.pop()]
        size = len(parts[0])
        for line in lines:
            content = line.rstrip(b"\r\n")
            yield content.removeprefix(_BYTE_ORDER_MARK) if is_first else content
            is_first = False
    if parts[-1].endswith(b"\r"):
        yield b"".join(parts).rstrip(b"\r")
