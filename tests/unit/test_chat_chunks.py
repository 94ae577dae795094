"""Events as chunks of a chat completion."""

import pytest

from executions.events.items import Event
from map_project.openai_api import chat


def test_a_comment_keeps_a_silent_stream_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    event = Event.of(5, "response.mcp_call.in_progress", item_id="x", output_index=0)
    assert chat.chunk_frames(includes_usage=False)(event) == ""
    monkeypatch.setattr(chat, "IDLE_SECONDS", 0.0)
    assert chat.chunk_frames(includes_usage=False)(event) == ": keep-alive\n\n"
