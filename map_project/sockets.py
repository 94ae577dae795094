"""What of sockets both the server and the database engine ask."""

import select


def is_readable(descriptor: int) -> bool:
    """Whether something has come: data, or the other side's end. Waits for nothing."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))
