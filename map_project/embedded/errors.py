"""The exception of the embedded servers and of the command `up`."""

from django.core.exceptions import ImproperlyConfigured


class EmbeddedServersError(ImproperlyConfigured):
    """The servers cannot be used. The message is one sentence that gives the reason."""
