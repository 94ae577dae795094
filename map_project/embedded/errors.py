"""The exception of the embedded servers and of the command `up`."""


class EmbeddedServersError(Exception):
    """The servers cannot be used. The message is one sentence that gives the reason."""
