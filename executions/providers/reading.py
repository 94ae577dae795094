"""What the readers of responses share."""

from collections.abc import Iterator
from contextlib import closing

from executions.providers import ModelError
from executions.providers.failures import model_error, unreadable_response
from executions.providers.retries import Stream
from tools.outbound import Interrupted


def with_model_errors(provider: str, pieces: Stream) -> Stream:
    """Read a response, and raise each error as ModelError with the text that has arrived."""
    texts: list[str] = []
    try:
        with closing(pieces):
            while True:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    return end.value  # type: ignore[no-any-return]
                texts.append(piece)
                yield piece
    except Interrupted:
        raise
    except ModelError as error:
        error.output = error.output or "".join(texts)
        raise
    except (TypeError, AttributeError, LookupError):
        raise unreadable_response(provider, "".join(texts)) from None
    except Exception as error:
        raise model_error(provider, error, "".join(texts)) from None


def first_bytes(chunks: Iterator[bytes]) -> bytes:
    """Return the bytes up to the first that are not blank, which tell events from a JSON document."""
    read: list[bytes] = []
    for chunk in chunks:
        read.append(chunk)
        if chunk.strip():
            break
    return b"".join(read)
