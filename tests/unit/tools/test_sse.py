"""The decoder of server-sent events."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.outbound.sse import MAX_EVENT_BYTES, events

STREAMS: list[tuple[bytes, list[tuple[bytes, bytes]]]] = [
    (b"data: a\n\n", [(b"", b"a")]),
    (b"data:a\n\ndata:  b\n\n", [(b"", b"a"), (b"", b" b")]),
    (b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"", b"a"), (b"", b"b")]),
    (b"data: a\r\rdata: b\r\r", [(b"", b"a"), (b"", b"b")]),
    (b"data: a\r\n\ndata: b\n\r\n", [(b"", b"a"), (b"", b"b")]),
    (b"data: a\ndata: b\ndata\ndata:\n\n", [(b"", b"a\nb\n\n")]),
    (b"event: error\ndata: a\n\ndata: b\n\n", [(b"error", b"a"), (b"", b"b")]),
    (b"event: ping\n\ndata: b\n\n", [(b"", b"b")]),
    (b": comment\n:\nid: 7\nretry: 1\nother: x\ndata: a\n\n", [(b"", b"a")]),
    (b"\xef\xbb\xbfdata: a\n\n", [(b"", b"a")]),
    (b"\n\n\ndata: a\n\n\n\n", [(b"", b"a")]),
    (b"data: \xe2\x82\xac \xf0\x9f\x98\x80\n\n", [(b"", "€ 😀".encode())]),
    (b'data: {"a": "b: c"}\n\n', [(b"", b'{"a": "b: c"}')]),
    # Incomplete events.
    (b"", []),
    (b"data: a", []),
    (b"data: a\n", []),
    (b"data: a\r\n", []),
    (b"data: a\n\ndata: b\n", [(b"", b"a")]),
    (b"data:\n\n", []),
]


@pytest.mark.parametrize(("stream", "expected"), STREAMS)
def test_events(stream: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert [*events([stream])] == expected
    assert [*events(stream[at : at + 1] for at in range(len(stream)))] == expected
    for at in range(len(stream)):
        assert [*events([stream[:at], b"", stream[at:]])] == expected


@given(
    st.lists(
        st.sampled_from([b"data:", b"a", b"\r", b"\n", b"\r\n", b"event:", b":", b"\xef\xbb\xbf"])
    ),
    st.data(),
)
def test_the_division_into_reads_does_not_matter(parts: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reads = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [*events(reads)] == [*events([stream])]


@pytest.mark.parametrize(
    "part", [b"x" * 65536, b"data: " + b"x" * 65536 + b"\n"], ids=["line", "event"]
)
def test_the_size_of_an_event_is_limited(part: bytes) -> None:
    reads = [b"data: "] + [part] * (MAX_EVENT_BYTES // 65536 + 1)
    with pytest.raises(ValueError, match="too"):
        [*events(reads)]
