"""The form of messages that every model provider accepts."""

from typing import Any


def assert_well_formed(messages: list[dict[str, Any]]) -> None:
    """Check the messages of a request to Chat Completions: their order, and one result for each call."""
    first, *rest = messages
    assert first["role"] == "system"
    assert rest[-1]["role"] in {"user", "tool"}
    expected = {"user"}
    pending: list[str] = []
    known: set[str] = set()
    for message in rest:
        role = message["role"]
        assert role in expected, (role, expected)
        if role == "tool":
            assert message["tool_call_id"] == pending.pop(0)
            assert message["content"]
        calls = [call["id"] for call in message.get("tool_calls") or ()]
        assert role == "assistant" or not calls
        assert not known & {*calls}
        assert len({*calls}) == len(calls)
        known |= {*calls}
        pending += calls
        assert message["content"] or calls or role == "tool"
        expected = {"tool"} if pending else {"assistant"} if role != "assistant" else {"user"}
    assert not pending
