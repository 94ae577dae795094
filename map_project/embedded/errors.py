"""What can go wrong with the embedded servers and with ``up``, in one type."""


class EmbeddedServersError(Exception):
    """Something stands in the way of the servers; the message is one sentence that says what."""
