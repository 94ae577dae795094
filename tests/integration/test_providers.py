"""The provider `openai`: the real SDK against a stub server on loopback."""

import gzip
import json
import subprocess
import sys
import time
import traceback
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from agents.language_models import KnownModel
from executions.providers import (
    AgentProfile,
    Message,
    ModelError,
    ModelRequest,
    ModelResponse,
    ModelTimeout,
    ToolCall,
    ToolDefinition,
    get_provider,
)
from map_project.api import secrets
from tests.stub_model import (
    CUT,
    HANG,
    StubModel,
    StubResponse,
    completion,
    error,
    silent_port,
)
from tools.outbound import interruptible

SCHEMA = {"type": "object", "properties": {"q": {"type": "string"}}}
TOOL = ToolDefinition("web_search", "web search", "Searches.", SCHEMA)


@pytest.fixture
def stub(model_server: StubModel) -> StubModel:
    return model_server.says(completion())


def request_to(stub: StubModel | str, *, seconds: float = 20, **changes: Any) -> ModelRequest:
    """Return a request to the stub. `changes` apply to the row of the model."""
    url = stub if isinstance(stub, str) else stub.url
    row = {"name": "gpt-4o", "provider": "openai", "base_url": url, "max_retries": 0}
    return ModelRequest(
        model=KnownModel(**row | changes),  # type: ignore[arg-type]
        agent=AgentProfile(uuid.uuid4(), "Ada", "analyst", ("web search",)),
        system_prompt="You are Ada.",
        messages=(Message("user", "What is new?"),),
        deadline=time.monotonic() + seconds,
    )


def complete(request: ModelRequest) -> ModelResponse:
    return get_provider("openai").complete(request)


def nested(depth: int) -> bytes:
    """Return a completion whose content is nested."""
    content = b'[{"text": ' * depth + b"7" + b"}]" * depth
    return b'{"choices": [{"message": {"content": %s}}]}' % content


def failure(request: ModelRequest) -> ModelError:
    with pytest.raises(ModelError) as caught:
        complete(request)
    assert caught.value.provider == "openai"
    return caught.value


class TestRequest:
    def test_all_fields_are_sent(self, stub: StubModel) -> None:
        token = secrets.encrypt("sk-secret")
        request = request_to(stub, upstream_name="llama3.1:8b", credential_token=token)
        complete(replace(request, tools=(TOOL,), temperature=0.5, max_output_tokens=77))
        (sent,) = stub.requests
        assert sent.path == "/v1/chat/completions"
        assert sent.headers["authorization"] == "Bearer sk-secret"
        assert sent.body == {
            "model": "llama3.1:8b",
            "messages": [
                {"role": "system", "content": "You are Ada."},
                {"role": "user", "content": "What is new?"},
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "web_search",
                        "description": "Searches.",
                        "parameters": SCHEMA,
                    },
                }
            ],
            "temperature": 0.5,
            "max_tokens": 77,
        }

    def test_unset_fields_are_left_out(self, stub: StubModel) -> None:
        complete(request_to(stub))
        assert stub.requests[0].body.keys() == {"model", "messages"}
        assert stub.requests[0].body["model"] == "gpt-4o"

    def test_nothing_of_the_environment_is_sent(
        self, stub: StubModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-environment")
        monkeypatch.setenv("OPENAI_ORG_ID", "org-of-the-environment")
        monkeypatch.setenv("OPENAI_PROJECT_ID", "project-of-the-environment")
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        complete(request_to(stub, max_retries=1))
        assert "of-the-environment" not in json.dumps(stub.requests[0].headers)

    def test_tool_calls_and_results_are_sent(self, stub: StubModel) -> None:
        calls = (
            ToolCall("a", "web_search", '{"q": "x"}'),
            ToolCall("b", "no such name!", "no json"),
        )
        messages = (
            Message("user", "What is new?"),
            Message("assistant", "", calls),
            Message("tool", "sunny", tool_call_id="a", name="web_search"),
            Message("tool", "There is no such tool.", tool_call_id="b", name="no such name!"),
        )
        complete(replace(request_to(stub), messages=messages))
        assert stub.requests[0].body["messages"][2:] == [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "a",
                        "type": "function",
                        "function": {"name": "web_search", "arguments": '{"q": "x"}'},
                    },
                    {
                        "id": "b",
                        "type": "function",
                        "function": {"name": "unknown", "arguments": "{}"},
                    },
                ],
            },
            {"role": "tool", "content": "sunny", "tool_call_id": "a", "name": "web_search"},
            {
                "role": "tool",
                "content": "There is no such tool.",
                "tool_call_id": "b",
                "name": "unknown",
            },
        ]

    def test_cookies_are_not_kept(self, stub: StubModel) -> None:
        stub.says(StubResponse(headers={"Set-Cookie": "session=of-another-tenants-run; Path=/"}))
        complete(request_to(stub))
        complete(request_to(stub))
        assert "cookie" not in stub.requests[1].headers

    def test_a_connection_is_reused(self, stub: StubModel) -> None:
        for token in ("", secrets.encrypt("sk-other"), ""):
            assert complete(request_to(stub, credential_token=token)).text == "Hello."
        assert len({request.client_port for request in stub.requests}) == 1

    def test_a_connection_that_the_server_closed_is_not_reused(self, stub: StubModel) -> None:
        stub.says(StubResponse(length=len(json.dumps(completion()))), completion("again"))
        complete(request_to(stub))
        # Until the stub has closed it.
        time.sleep(0.2)
        assert complete(request_to(stub)).text == "again"
        assert len({request.client_port for request in stub.requests}) == 2


class TestResponse:
    def test_text_and_tokens(self, stub: StubModel) -> None:
        assert complete(request_to(stub)) == ModelResponse("Hello.", (), "stop", 12, 3)

    def test_several_calls_in_one_turn(self, stub: StubModel) -> None:
        stub.says(completion(None, calls=[("web_search", '{"q": 1}'), ("web_search", "{")]))
        assert complete(request_to(stub)).tool_calls == (
            ToolCall("call_0", "web_search", '{"q": 1}'),
            ToolCall("call_1", "web_search", "{"),
        )

    @pytest.mark.parametrize(
        ("reason", "expected"),
        [
            ("length", "length"),
            ("content_filter", "content_filter"),
            ("stop", "stop"),
            ("eos", "stop"),
        ],
    )
    def test_the_finish_reason(self, stub: StubModel, reason: str, expected: str) -> None:
        stub.says(completion("x", finish_reason=reason))
        assert complete(request_to(stub)).finish_reason == expected

    @pytest.mark.parametrize(
        "usage",
        [None, {}, {"prompt_tokens": None}, {"prompt_tokens": "7", "completion_tokens": -1}],
    )
    def test_missing_token_counts_are_unknown_and_not_zero(
        self, stub: StubModel, usage: Any
    ) -> None:
        stub.says({**completion(), "usage": usage})
        response = complete(request_to(stub))
        assert (response.input_tokens, response.output_tokens) == (None, None)

    def test_variants_of_other_servers(self, stub: StubModel) -> None:
        body = completion(None, calls=[("web_search", "")])
        message = body["choices"][0]["message"]
        message["content"] = [{"type": "text", "text": "in "}, {"type": "text", "text": "parts"}]
        message["tool_calls"][0]["function"]["arguments"] = {"q": 1}
        message["tool_calls"][0]["id"] = None
        del body["usage"], body["created"], body["object"]
        stub.says(body)
        assert complete(request_to(stub)) == ModelResponse(
            "in parts",
            (ToolCall("", "web_search", '{"q": 1}'),),
            "stop",
            extra={"content": message["content"]},
        )


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "retryable"),
        [(400, False), (401, False), (404, False), (429, True), (500, True), (503, True)],
    )
    def test_an_error_has_the_status_and_nothing_of_the_response(
        self, stub: StubModel, status: int, retryable: bool
    ) -> None:
        stub.says(error(status, "secret words of the provider", x_secret="header"))
        failed = failure(request_to(stub))
        assert (type(failed), failed.status, failed.retryable) == (ModelError, status, retryable)
        assert "secret words" not in "".join(traceback.format_exception(failed))

    def test_a_redirect_is_not_followed(self, stub: StubModel) -> None:
        stub.says(StubResponse(307, b"", {"Location": f"{stub.url}/elsewhere"}))
        assert failure(request_to(stub)).status == 307
        assert len(stub.requests) == 1

    def test_retries_are_limited_by_the_row(self, stub: StubModel) -> None:
        stub.says(error(500), error(429, Retry_After="0.1"), completion("at last"))
        assert complete(request_to(stub, max_retries=2)).text == "at last"
        assert len(stub.requests) == 3
        stub.says(error(500))
        assert failure(request_to(stub, max_retries=1)).status == 500
        assert len(stub.requests) == 2
        stub.says(error(401))
        assert failure(request_to(stub, max_retries=1)).status == 401
        assert len(stub.requests) == 1

    def test_retry_after_is_honoured(self, stub: StubModel) -> None:
        stub.says(error(429, Retry_After="1"), completion("at last"))
        assert complete(request_to(stub, max_retries=1)).text == "at last"
        assert 0.9 < stub.requests[1].at - stub.requests[0].at < 5

    def test_retry_after_in_milliseconds_has_precedence(self, stub: StubModel) -> None:
        stub.says(error(429, retry_after_ms="1", Retry_After="60"), completion("at last"))
        assert complete(request_to(stub, max_retries=1)).text == "at last"

    def test_retry_after_may_be_a_date(self, stub: StubModel) -> None:
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
        stub.says(error(503, Retry_After=date), completion("at last"))
        assert complete(request_to(stub, max_retries=1)).text == "at last"
        assert 0.9 < stub.requests[1].at - stub.requests[0].at < 5

    @pytest.mark.parametrize("value", ["0", "-1", "nan", "soon", ""])
    def test_an_unusable_retry_after_means_backoff(self, stub: StubModel, value: str) -> None:
        stub.says(error(429, Retry_After=value), completion("at last"))
        assert complete(request_to(stub, max_retries=1)).text == "at last"
        assert 0.3 < stub.requests[1].at - stub.requests[0].at < 5

    @pytest.mark.parametrize("value", ["121", "inf", "1e999"])
    def test_a_retry_after_over_two_minutes_is_not_waited_for(
        self, stub: StubModel, value: str
    ) -> None:
        stub.says(error(429, Retry_After=value))
        assert failure(request_to(stub, max_retries=1, seconds=1_000)).status == 429
        assert len(stub.requests) == 1

    def test_the_server_decides_with_x_should_retry(self, stub: StubModel) -> None:
        stub.says(error(500, x_should_retry="false"))
        assert failure(request_to(stub, max_retries=1)).status == 500
        assert len(stub.requests) == 1
        stub.says(error(400, x_should_retry="true", retry_after_ms="1"), completion("at last"))
        assert complete(request_to(stub, max_retries=1)).text == "at last"

    @pytest.mark.parametrize("status", [408, 409])
    def test_a_conflict_and_a_request_timeout_are_retried(
        self, stub: StubModel, status: int
    ) -> None:
        stub.says(error(status, retry_after_ms="1"), completion("at last"))
        assert complete(request_to(stub, max_retries=1)).text == "at last"

    def test_a_lost_connection_is_retried(self, stub: StubModel) -> None:
        stub.says(CUT, completion("at last"))
        assert complete(request_to(stub, max_retries=1)).text == "at last"

    def test_no_retry_after_the_deadline_without_a_response_is_a_timeout(self) -> None:
        with silent_port() as url:
            assert isinstance(failure(request_to(url, max_retries=5, seconds=0.3)), ModelTimeout)

    def test_a_delay_beyond_the_deadline_is_not_waited_for(self, stub: StubModel) -> None:
        stub.says(error(429, Retry_After="60"))
        started = time.monotonic()
        assert failure(request_to(stub, max_retries=5, seconds=3)).status == 429
        assert time.monotonic() - started < 2

    def test_a_hanging_server_is_a_timeout(self, stub: StubModel) -> None:
        stub.says(HANG)
        started = time.monotonic()
        failed = failure(request_to(stub, timeout_seconds=1))
        assert isinstance(failed, ModelTimeout)
        assert failed.retryable
        assert 0.9 < time.monotonic() - started < 3

    def test_the_deadline_of_the_run_limits_all_attempts(self, stub: StubModel) -> None:
        stub.says(HANG)
        started = time.monotonic()
        failed = failure(request_to(stub, timeout_seconds=1, max_retries=10, seconds=2))
        assert isinstance(failed, ModelTimeout)
        assert time.monotonic() - started < 4

    def test_no_attempt_is_made_after_the_deadline(self, stub: StubModel) -> None:
        assert isinstance(failure(request_to(stub, seconds=-1)), ModelTimeout)
        assert stub.requests == []

    @pytest.mark.parametrize("body", [b"x" * 200, json.dumps(completion()).encode()])
    def test_a_slow_drip_is_a_timeout(self, stub: StubModel, body: bytes) -> None:
        """Each byte arrives in time; all of them would take half a minute."""
        stub.says(StubResponse(body=body, drip_seconds=0.1))
        started = time.monotonic()
        assert isinstance(failure(request_to(stub, timeout_seconds=1)), ModelTimeout)
        assert time.monotonic() - started < 3

    def test_an_incomplete_response(self, stub: StubModel) -> None:
        stub.says(CUT)
        failed = failure(request_to(stub))
        assert (type(failed), failed.status, failed.retryable) == (ModelError, None, True)

    def test_a_response_that_is_too_large(self, stub: StubModel) -> None:
        stub.says(StubResponse(body=b" " * (33 * 1024 * 1024)))
        failed = failure(request_to(stub))
        assert (failed.status, failed.retryable) == (None, True)

    def test_no_server_listens(self) -> None:
        with silent_port() as url:
            failed = failure(request_to(url))
        assert (type(failed), failed.status, failed.retryable) == (ModelError, None, True)

    @pytest.mark.parametrize(
        "response",
        [
            StubResponse(body=b"<html>Welcome</html>", headers={"Content-Type": "text/html"}),
            StubResponse(body=b"not json"),
            StubResponse(body=b""),
            StubResponse(body=b"[]"),
            StubResponse(body=b"null"),
            StubResponse(body=b'"text"'),
            StubResponse(body=b"\xff\xfe"),
            {},
            {"choices": []},
            {"choices": None},
            {"choices": "text"},
            {"choices": [{"message": None}]},
            {"choices": [{"message": {"content": 7}}]},
            {"choices": [{"message": {"content": None, "tool_calls": [{"id": "a"}]}}]},
            {"choices": [{"message": {"content": "", "tool_calls": 7}}]},
            {"choices": [{"message": {"content": [7]}}]},
            {"choices": [{"message": {"content": [{"text": {}}]}}]},
            {"choices": [{"message": {"content": "", "tool_calls": ["a"]}}]},
            {"choices": [{"message": {"content": "", "tool_calls": [None]}}]},
            {"choices": {"message": {"content": ""}}},
            {"choices": [["message"]]},
            {"error": {"message": "an error with status 200"}},
            StubResponse(body=b'{"choices": [{"message": {"content": NaN}}]}'),
            StubResponse(body=b'{"choices": ' + b"9" * 5_000 + b"}"),
            StubResponse(body=b'{"choices":' * 100_000),
            *(StubResponse(body=nested(depth)) for depth in (100, 200, 300, 400, 450, 480, 900)),
            StubResponse(
                body=b"data: {}\n\ndata: [DONE]\n\n", headers={"Content-Type": "text/event-stream"}
            ),
            completion("", calls=[("f", "{}")] * 5_000),
        ],
        ids=lambda response: str(response)[:80],
    )
    def test_an_invalid_completion_is_a_model_error(self, stub: StubModel, response: Any) -> None:
        stub.says(response)
        failed = failure(request_to(stub))
        assert type(failed) is ModelError
        assert failed.status in {200, None}
        assert failed.reason in {"bad_answer", "server_error"}

    def test_a_compressed_response_is_refused(self, stub: StubModel) -> None:
        bomb = gzip.compress(json.dumps(completion("x" * 50_000_000)).encode())
        stub.says(StubResponse(body=bomb, headers={"Content-Encoding": "gzip"}))
        failed = failure(request_to(stub))
        assert (type(failed), failed.status) == (ModelError, None)
        assert stub.requests[0].headers["accept-encoding"] == "identity"

    @pytest.mark.parametrize(
        "url", ["http://127.0.0.1:99999/v1", "http://[::1/v1", "http://a b/v1"]
    )
    def test_an_invalid_url(self, url: str) -> None:
        failed = failure(request_to(url))
        assert (type(failed), failed.status) == (ModelError, None)

    @pytest.mark.parametrize("credential", ["ключ", "a\nb", "a\0b"])
    def test_a_credential_that_is_not_a_valid_header(
        self, stub: StubModel, credential: str
    ) -> None:
        failed = failure(request_to(stub, credential_token=secrets.encrypt(credential)))
        assert (type(failed), failed.status) == (ModelError, None)
        assert credential not in str(failed)
        assert stub.requests == []

    def test_a_credential_that_no_key_decrypts(self, stub: StubModel) -> None:
        failed = failure(request_to(stub, credential_token="gAAAAA-nonsense"))
        assert (failed.status, failed.retryable) == (None, False)
        assert "nonsense" not in str(failed)
        assert stub.requests == []


class Cancelled(Exception):
    pass


@pytest.mark.parametrize("response", [HANG, error(429, Retry_After="60")], ids=["silent", "retry"])
def test_a_request_that_waits_is_abandoned(stub: StubModel, response: StubResponse) -> None:
    def cancel() -> None:
        raise Cancelled

    stub.says(response)
    started = time.monotonic()
    with pytest.raises(Cancelled), interruptible(cancel):
        complete(request_to(stub, max_retries=5, seconds=120))
    assert time.monotonic() - started < 5
    assert len(stub.requests) == 1


_IMPORTS = """
import sys, django
django.setup()
import map_project.wsgi, executions.views
from executions.providers import get_provider
get_provider("mock")
print(sorted({"anthropic", "openai", "pydantic"} & sys.modules.keys()))
"""


def test_no_sdk_is_imported_before_a_row_uses_it() -> None:
    found = subprocess.run(
        [sys.executable, "-c", _IMPORTS], capture_output=True, check=True, text=True
    )
    assert found.stdout.strip() == "[]"
