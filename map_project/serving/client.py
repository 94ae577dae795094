"""A client's connection, as the threads that serve it see it."""

import socket
from contextlib import suppress
from typing import Any

from map_project.serving.turns import waiting

# So much of an answer is held back until the rest of it is there.
_HELD_BYTES = 64 * 1024


class Client(socket.socket):
    """A connection whose thread gives its turn to others for as long as the client keeps it waiting,
    and that asks the system for nothing twice: whoever asks gives up the interpreter's lock, and has to
    wait for it afterwards.
    """

    def __init__(self, fileno: int) -> None:
        super().__init__(fileno=fileno)
        # It blocks, except for the timeout that is wanted of it just now.
        super().settimeout(None)
        self._timeout: float | None = None
        self._held = bytearray()

    def setblocking(self, flag: bool) -> None:
        self._timeout = None if flag else 0.0

    def settimeout(self, value: float | None) -> None:
        self._timeout = value

    def gettimeout(self) -> float | None:
        return self._timeout

    def recv(self, size: int, flags: int = 0) -> bytes:
        self.flush()
        try:
            return super().recv(size, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            if self._timeout == 0.0:
                raise
        with waiting():
            super().settimeout(self._timeout)
            try:
                return super().recv(size, flags)
            finally:
                super().settimeout(None)

    def sendall(self, data: Any, flags: int = 0) -> None:
        # Headers and body come one after the other, and leave together.
        self._held += data
        if len(self._held) > _HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Sends what is held. Raises OSError."""
        if not self._held:
            return
        data, self._held, sent = self._held, bytearray(), 0
        with suppress(BlockingIOError):
            sent = super().send(data, socket.MSG_DONTWAIT)
        if sent < len(data):
            with waiting():
                super().sendall(memoryview(data)[sent:])

    def sendfile(self, *args: Any, **kwargs: Any) -> int:
        self.flush()
        with waiting():
            return super().sendfile(*args, **kwargs)

    def shutdown(self, how: int) -> None:
        self.flush()
        super().shutdown(how)

    def close(self) -> None:
        with suppress(OSError):
            self.flush()
        super().close()
