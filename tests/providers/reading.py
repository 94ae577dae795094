"""Reads the streams of providers."""

import time
from collections.abc import Generator, Iterator

from executions.providers import ModelResponse
from tests.stub_model import StubModel


def read_all(stream: Generator[str, None, ModelResponse], pieces: list[str]) -> ModelResponse:
    """Add the pieces of a stream to the list while they arrive, and return the response."""

    def response() -> Iterator[str]:
        found.append((yield from stream))

    found: list[ModelResponse] = []
    pieces.extend(response())
    return found[0]


class Cancelled(Exception):
    """The run was cancelled."""


def cancel() -> None:
    raise Cancelled


def wait_until_closed(stub: StubModel) -> None:
    """Wait until a client has closed its connection to the stub during a response."""
    deadline = time.monotonic() + 10
    while stub.closed_count == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
