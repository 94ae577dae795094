"""The attempts of a request to a provider, after failures that may be temporary."""

import random
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count

from executions.providers import ModelError, ModelRequest, ModelResponse, ModelTimeout
from executions.providers.failures import StatusError, model_error, refused_tool, remove_secrets
from executions.providers.http import credential
from tools.outbound import Interrupted, original_errors, pause

# The policy for retries of both SDKs.
INITIAL_RETRY_SECONDS = 0.5
MAX_RETRY_SECONDS = 8.0
MAX_RETRY_AFTER_SECONDS = 120.0

Stream = Generator[str, None, ModelResponse]


def retried(provider: str, request: ModelRequest, attempt: Callable[[], Stream]) -> Stream:
    """Make attempts until one succeeds, or a failure is final. Raises ModelError.

    A failure is final once a piece of the text was yielded.
    """
    with original_errors():
        for number in count():
            pieces = attempt()
            try:
                first = next(pieces)
            except StopIteration as end:
                response: ModelResponse = end.value
                return response
            except Interrupted:
                raise
            except Exception as error:
                pause(_delay_seconds(provider, request, error, number))
                continue
            with closing(pieces):
                yield first
                return (yield from _final_failures(request, pieces))
    raise AssertionError  # for the type checker


def response_of(pieces: Stream) -> ModelResponse:
    """Return the response of a stream, without its pieces. Raises ModelError."""
    with closing(pieces):
        while True:
            try:
                next(pieces)
            except StopIteration as end:
                response: ModelResponse = end.value
                return response


def _final_failures(request: ModelRequest, pieces: Stream) -> Stream:
    try:
        return (yield from pieces)
    except ModelError as error:
        _complete(error, request)
        raise


def _complete(failure: ModelError, request: ModelRequest) -> None:
    """Add the tool that was refused, and remove secrets."""
    if tool := refused_tool(failure, request.tools):
        failure.identifiers["tool"] = tool.tool_name
    token = request.model.credential_token
    remove_secrets(failure, credential(failure.provider, token) if token else "")


def _delay_seconds(provider: str, request: ModelRequest, error: Exception, number: int) -> float:
    """Return the delay before the next attempt. Raises ModelError if there is none."""
    # Its message may quote the provider's response, which must not reach the log.
    failure = error if isinstance(error, ModelError) else model_error(provider, error)
    _complete(failure, request)
    headers = error.headers if isinstance(error, StatusError) else {}
    if number >= request.model.max_retries or not _should_retry(failure, headers):
        raise failure from None
    delay_seconds = _retry_delay_seconds(number, headers)
    if time.monotonic() + delay_seconds >= request.deadline:
        if failure.status:
            raise failure from None
        raise ModelTimeout("no time to retry", provider=provider) from None
    return delay_seconds


def _should_retry(failure: ModelError, headers: Mapping[str, str]) -> bool:
    if (_retry_after_seconds(headers) or 0) > MAX_RETRY_AFTER_SECONDS:
        return False
    # Not a standard header: OpenAI's servers send it, and the SDK obeys it.
    match headers.get("x-should-retry"):
        case "true":
            return True
        case "false":
            return False
    return failure.retryable


def _retry_delay_seconds(attempt: int, headers: Mapping[str, str]) -> float:
    """Return the delay that the server requests, or an exponential backoff with jitter."""
    requested = _retry_after_seconds(headers)
    if requested is not None and requested > 0:
        return requested
    backoff = min(INITIAL_RETRY_SECONDS * 2.0**attempt, MAX_RETRY_SECONDS)
    return backoff * random.uniform(0.75, 1)  # noqa: S311  jitter


def _retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """Return the delay in `retry-after-ms` or `retry-after`, of which the latter may be a date."""
    with suppress(KeyError, ValueError):
        return float(headers["retry-after-ms"]) / 1000
    with suppress(KeyError, ValueError):
        return float(headers["retry-after"])
    with suppress(KeyError, ValueError, TypeError):
        return (parsedate_to_datetime(headers["retry-after"]) - datetime.now(UTC)).total_seconds()
    return None
