"""The provider `anthropic`: Anthropic's Messages API through its SDK.

Importing this module imports the SDK, which takes 2 s and 70 MB, so `MODEL_PROVIDERS` names it by a path that
is imported when a row first uses it. The SDK also reads ANTHROPIC_CUSTOM_HEADERS from the environment.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import anthropic

from executions.providers import ModelRequest, ModelResponse
from executions.providers.anthropic.messages import NAME
from executions.providers.anthropic.refusals import learn_limit, refused_part
from executions.providers.anthropic.requests import request_body
from executions.providers.anthropic.stream import read_body, read_stream
from executions.providers.failures import StatusError
from executions.providers.http import client as http_client
from executions.providers.http import credential, timeout
from executions.providers.refusals import is_lasting, known_refusals, remember
from executions.providers.retries import Stream, response_of, retried
from tools.outbound import read_end

BASE_URL = "https://api.anthropic.com"


class Anthropic:
    """The provider `anthropic`."""

    def is_local(self, request: ModelRequest) -> bool:
        return False

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Request a message, again after failures that may be temporary. Raises ModelError."""
        return response_of(retried(NAME, request, lambda: _attempt(request, is_stream=False)))

    def stream(self, request: ModelRequest) -> Stream:
        """Request a message as a stream. There is no retry once a part of the text has arrived."""
        return retried(NAME, request, lambda: _attempt(request, is_stream=True))


def _attempt(request: ModelRequest, *, is_stream: bool) -> Stream:
    """Make one attempt, and others without the parts that the server refuses.

    Raises StatusError, OutboundError, ModelError, and errors of the SDK.
    """
    refused = lasting = known_refusals(request)
    tried: set[str] = set()
    while True:
        try:
            response = yield from _response(request, request_body(request, refused), is_stream)
        except StatusError as error:
            part = learn_limit(request, error) or refused_part(error)
            if part is None or part in tried:
                raise
            tried.add(part)
            refused |= {part}
            if is_lasting(error):
                lasting |= {part}
        else:
            remember(request, lasting)
            return response


def _response(request: ModelRequest, body: dict[str, Any], is_stream: bool) -> Stream:
    client = _client(request.model.base_url, request.model.credential_token)
    # The raw response: the SDK would make several objects of each event.
    create = client.messages.with_streaming_response.create
    with (
        _original_errors(),
        create(**body, stream=is_stream, timeout=timeout(NAME, request)) as response,
    ):
        http_response = response.http_response
        if not http_response.is_success:
            status, content = http_response.status_code, http_response.read()
            raise StatusError(status, content.decode(errors="replace"), http_response.headers)
        chunks = http_response.iter_raw()
        if not is_stream:
            return (yield from read_body(chunks))
        streamed = yield from read_stream(chunks)
        read_end(http_response, chunks)
        return streamed


@contextmanager
def _original_errors() -> Iterator[None]:
    """Raise StatusError, and the errors that the SDK replaces by its own."""
    try:
        yield
    except anthropic.APIStatusError as error:
        raise StatusError(error.status_code, error.body, error.response.headers) from None
    except anthropic.APIConnectionError as error:
        raise (error.__cause__ or error) from None


@lru_cache(maxsize=32)
def _client(base_url: str, credential_token: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key=credential(NAME, credential_token),
        # The SDK adds /v1.
        base_url=(base_url or BASE_URL).rstrip("/").removesuffix("/v1"),
        max_retries=0,
        http_client=http_client,
    )
