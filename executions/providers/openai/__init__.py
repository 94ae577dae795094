"""The provider `openai`: Chat Completions through OpenAI's SDK, at any address that implements the API.

Examples are OpenAI, vLLM, Ollama, LiteLLM, Groq, Mistral, and the compatible endpoints of Gemini and
Anthropic. Importing this module imports the SDK, which takes 0.5 s and 40 MB, so `MODEL_PROVIDERS` names it
by a path that is imported when a row first uses it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import openai

from executions.providers import ModelRequest, ModelResponse
from executions.providers.failures import ReportedError, StatusError
from executions.providers.http import client as http_client
from executions.providers.http import credential, timeout
from executions.providers.openai.completions import NAME, read_completion
from executions.providers.openai.refusals import LIMIT_NAMES, refused_part
from executions.providers.openai.requests import BASE_URL, request_body
from executions.providers.openai.stream import read_stream
from executions.providers.refusals import is_lasting, known_refusals, remember
from executions.providers.retries import Stream, response_of, retried
from tools.outbound import read_end

_FILTER_CODES = {
    *("content_filter", "content_policy_violation", "responsibleaipolicyviolation"),
    *("data_inspection_failed", "moderation_blocked"),
}


class OpenAI:
    """The provider `openai`."""

    def is_local(self, request: ModelRequest) -> bool:
        return False

    def complete(self, request: ModelRequest) -> ModelResponse:
        """Request a completion, again after failures that may be temporary. Raises ModelError."""
        return response_of(retried(NAME, request, lambda: _attempt(request, is_stream=False)))

    def stream(self, request: ModelRequest) -> Stream:
        """Request a completion as a stream. There is no retry once a part of the text has arrived."""
        return retried(NAME, request, lambda: _attempt(request, is_stream=True))


def _attempt(request: ModelRequest, *, is_stream: bool) -> Stream:
    """Make one attempt, and others without the parts that the server refuses.

    Raises StatusError, OutboundError, ModelError, and errors of the SDK.
    """
    refused, lasting, tried = known_refusals(request), known_refusals(request), set[str]()
    while True:
        body = request_body(request, refused, is_stream=is_stream)
        try:
            response = yield from _response(request, body)
        except StatusError as error:
            part = refused_part(error, body)
            if part is None or part in tried:
                return _filtered_response(error)
            tried.add(part)
            refused = refused - {LIMIT_NAMES.get(part, "")} | {part}
            if part != "response_format" or is_lasting(error):
                lasting = lasting - {LIMIT_NAMES.get(part, "")} | {part}
        else:
            remember(request, lasting)
            return response


def _response(request: ModelRequest, body: dict[str, Any]) -> Stream:
    client = _client(request.model.base_url, request.model.credential_token)
    body["timeout"] = timeout(NAME, request)
    if "stream" in body:
        # The raw response: the SDK would make several objects of each chunk.
        with (
            _status_errors(),
            client.chat.completions.with_streaming_response.create(**body) as response,
        ):
            chunks = response.http_response.iter_raw()
            has_known_end = bool(response.headers.keys() & {"content-length", "transfer-encoding"})
            streamed = yield from read_stream(chunks, has_known_end=has_known_end)
            read_end(response.http_response, chunks)
            return streamed
    with _status_errors():
        completion: object = client.chat.completions.create(**body)
    complete = read_completion(completion)
    if complete.text:
        yield complete.text
    return complete


@contextmanager
def _status_errors() -> Iterator[None]:
    try:
        yield
    except openai.APIStatusError as error:
        raise StatusError(error.status_code, error.body, error.response.headers) from None


def _filtered_response(error: StatusError) -> ModelResponse:
    """Return the response to a prompt that the server's filter refuses. Raises StatusError."""
    if error.status in {400, 403, 422} and ReportedError(error.body).codes & _FILTER_CODES:
        return ModelResponse("", finish_reason="content_filter")
    raise error


@lru_cache(maxsize=32)
def _client(base_url: str, credential_token: str) -> openai.OpenAI:
    client = openai.OpenAI(
        api_key=credential(NAME, credential_token),
        base_url=base_url or BASE_URL,
        max_retries=0,
        http_client=http_client,
    )
    # The SDK takes them from the environment, which may mean another account.
    client.organization = client.project = None
    return client
