"""Requests that can be abandoned while they wait, for instance because their run was cancelled."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field

CHECK_SECONDS = 1.0

_check: ContextVar[Callable[[], None] | None] = ContextVar("check", default=None)


class Interrupted(Exception):
    """The check of `interruptible` raised `error`. No other error has this class, so none is taken for it."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """Call `check` about once a second while a request that is made in this block waits.

    If it raises an exception, the request is abandoned: its connection is closed, and the exception reaches
    the caller of `send` or of the model provider as it is.
    """
    outer = _check.get()
    _check.set(check)
    try:
        yield
    finally:
        # Not `reset`: a generator may be closed in another context.
        _check.set(outer)


@contextmanager
def original_errors() -> Iterator[None]:
    """Raise the exception of the check instead of `Interrupted`."""
    try:
        yield
        return
    except Interrupted as interrupted:
        error = interrupted.error
    raise error


@dataclass(slots=True)
class Wait:
    """The waiting of one request, in parts with a check between them."""

    check: Callable[[], None] | None = field(default_factory=_check.get)
    check_at: float = field(default_factory=lambda: time.monotonic() + CHECK_SECONDS)

    def seconds(self, deadline: float) -> float:
        """Return how long to wait now, more than 0. Raises TimeoutError after the deadline, and Interrupted.

        `deadline` is a value of `time.monotonic`.
        """
        now = time.monotonic()
        if self.check is not None:
            if now >= self.check_at:
                self._call(self.check)
                now = time.monotonic()
                self.check_at = now + CHECK_SECONDS
            deadline = min(deadline, self.check_at)
        if now >= deadline:
            raise TimeoutError
        return deadline - now

    def _call(self, check: Callable[[], None]) -> None:
        try:
            check()
        except Exception as error:
            raise Interrupted(error) from None


def pause(seconds: float) -> None:
    """Sleep. Raises Interrupted."""
    wait, deadline = Wait(), time.monotonic() + seconds
    with suppress(TimeoutError):
        while True:
            time.sleep(wait.seconds(deadline))
