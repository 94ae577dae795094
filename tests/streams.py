"""A client of server-sent events for tests, over a socket to a live server."""

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Frame:
    """A frame of a stream, as it was sent, and its event. The last one has no event."""

    text: str
    id: int | None = None
    event: dict[str, Any] = field(default_factory=dict)

    @property
    def type(self) -> str:
        return str(self.event.get("type", ""))


@contextmanager
def streaming(  # noqa: PLR0917  as `Api.call`
    port: int,
    key: str | None,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Iterator[http.client.HTTPResponse]:
    """Send a request and yield the response, whose body has not been read."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    sent = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"} | dict(
        headers or {}
    )
    url = path if path.startswith("/") else f"/api/v1/{path}"
    try:
        connection.request(method, url, None if body is None else json.dumps(body), sent)
        yield connection.getresponse()
    finally:
        connection.close()


def frames(response: http.client.HTTPResponse) -> Iterator[Frame]:
    """Yield the frames of a stream as they arrive, without comments."""
    lines: list[str] = []
    for raw in response:
        line = raw.decode().rstrip("\n")
        if line:
            lines.append(line)
        elif lines:
            if not lines[0].startswith(":"):
                yield _frame(lines)
            lines = []
    assert not lines, "the last frame is incomplete"


def _frame(lines: list[str]) -> Frame:
    text = "\n".join(lines)
    fields = dict(line.split(": ", 1) for line in lines)
    if fields["data"] == "[DONE]":
        return Frame(text)
    event = json.loads(fields["data"])
    assert fields["event"] == event["type"]
    number = int(fields["id"]) if "id" in fields else None
    assert number in (None, event["sequence_number"])
    return Frame(text, number, event)


def read_stream(  # noqa: PLR0917
    port: int,
    key: str | None,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> list[Frame]:
    """Return all frames of a stream, and check what holds for each stream."""
    with streaming(port, key, method, path, body, headers) as response:
        assert response.status == 200, response.read()
        assert response.headers["Content-Type"] == "text/event-stream"
        assert response.headers["Cache-Control"] == "no-cache"
        assert response.headers["X-Accel-Buffering"] == "no"
        found = [*frames(response)]
    assert found[-1].text == "data: [DONE]"
    return found[:-1]


TERMINAL = {f"response.{name}" for name in ("completed", "incomplete", "failed", "cancelled")}


def check_whole(stream: list[Frame]) -> None:
    """Check that a stream has all of its events, in order, and that its items are complete."""
    events = [frame.event for frame in stream]
    assert [event["sequence_number"] for event in events] == [*range(len(events))]
    assert events[0]["type"] == "response.created"
    types = [event["type"] for event in events]
    assert [name in TERMINAL for name in types] == [False] * (len(events) - 1) + [True], types
    items: dict[int, dict[str, Any]] = {}
    for event in events:
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(items)
            items[event["output_index"]] = {"deltas": [], "item": event["item"]}
        elif event["type"].endswith(".delta"):
            items[event["output_index"]]["deltas"].append(event["delta"])
        elif event["type"] == "response.output_text.done":
            assert "".join(items[event["output_index"]]["deltas"]) == event["text"]
        elif event["type"] == "response.output_item.done":
            assert items[event["output_index"]]["item"]["id"] == event["item"]["id"]
            items[event["output_index"]]["done"] = event["item"]
    if events[-1]["type"] in {"response.completed", "response.incomplete"}:
        assert [item["done"] for item in items.values()] == events[-1]["response"]["output"]
