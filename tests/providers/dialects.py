"""Responses of servers that implement OpenAI's API, each with what must come of it.

To add a dialect, add rows. The responses are scripted; no server of these providers was called.
"""

import json
from dataclasses import dataclass
from typing import Any

from tests.stub_model import StubResponse, completion


@dataclass(frozen=True)
class Dialect:
    """A response that ends a run.

    `status` and `stop_reason` are those of the execution. For a failure, `reason` is its code and
    `http_status` the status of the provider, in the details of the 502.
    """

    name: str
    response: Any
    text: str = ""
    status: str = "succeeded"
    stop_reason: str = "completed"
    reason: str = ""
    http_status: int | None = None
    warning: str = ""


def reply(content: Any = "42", finish_reason: Any = "stop", **message: Any) -> dict[str, Any]:
    """Return a completion in which these fields may have any value."""
    response = completion(content)
    (choice,) = response["choices"]
    choice["message"] |= message
    choice["finish_reason"] = finish_reason
    return response


def refused(status: int, /, **error: Any) -> StubResponse:
    return StubResponse(status, {"error": {"message": "words of the provider", **error}})


_INCOMPLETE: dict[str, Any] = {"text": "Half", "status": "incomplete"}
_FAILED: dict[str, Any] = {"status": "failed", "stop_reason": "model_error"}
_THINKING = [{"type": "thinking", "thinking": [{"type": "text", "text": "hmm"}]}]
_ANSWER = [{"type": "text", "text": "42"}]

DIALECTS = [
    Dialect("OpenAI", reply(), "42"),
    Dialect("Mistral: thinking", reply([*_THINKING, *_ANSWER]), "42"),
    Dialect(
        "Mistral: reference", reply([*_ANSWER, {"type": "reference", "reference_ids": [1]}]), "42"
    ),
    Dialect(
        "Mistral: length",
        reply("Half", "model_length"),
        stop_reason="max_output_tokens",
        **_INCOMPLETE,
    ),
    Dialect(
        "Gemini: length",
        reply("Half", "MAX_TOKENS"),
        stop_reason="max_output_tokens",
        **_INCOMPLETE,
    ),
    Dialect("Gemini: safety", reply("Half", "SAFETY"), stop_reason="content_filter", **_INCOMPLETE),
    Dialect(
        "Gemini: recitation",
        reply("Half", "recitation"),
        stop_reason="content_filter",
        **_INCOMPLETE,
    ),
    Dialect(
        "Gemini: malformed call",
        reply("Half", "MALFORMED_FUNCTION_CALL"),
        reason="server_error",
        http_status=200,
        **_FAILED,
    ),
    Dialect(
        "Mistral: error", reply("Half", "error"), reason="server_error", http_status=200, **_FAILED
    ),
    Dialect(
        "DeepSeek: no resources",
        reply("Half", "insufficient_system_resource"),
        reason="server_error",
        http_status=200,
        **_FAILED,
    ),
    Dialect("vLLM: stop word", reply("42", "stop_sequence"), "42"),
    Dialect("LM Studio: no finish_reason", reply("42", None), "42"),
    Dialect(
        "Ollama: reasoning alone",
        reply("", "stop", reasoning="hmm"),
        warning="The response is empty. Some models return only their reasoning.",
    ),
    Dialect(
        "OpenRouter: error in the choice",
        {
            "id": "x",
            "object": "chat.completion",
            "choices": [
                {
                    "message": {"role": "assistant", "content": "Half"},
                    "finish_reason": "stop",
                    "error": {"code": 502, "message": "words of the provider"},
                }
            ],
        },
        reason="server_error",
        http_status=502,
        **_FAILED,
    ),
    Dialect(
        "OpenRouter: error with the status 200",
        {"error": {"code": 429, "message": "words of the provider"}},
        reason="rate_limited",
        http_status=429,
        **_FAILED,
    ),
    Dialect(
        "tool_calls without a call",
        reply("", "tool_calls"),
        reason="bad_answer",
        http_status=200,
        **_FAILED,
    ),
    Dialect(
        "an empty body", StubResponse(body=b""), reason="bad_answer", http_status=200, **_FAILED
    ),
    Dialect(
        "Azure: content filter",
        refused(400, code="content_filter", type=None, param="prompt"),
        status="incomplete",
        stop_reason="content_filter",
    ),
    Dialect(
        "OpenAI: the schema of a tool",
        refused(
            400,
            code="invalid_function_parameters",
            type="invalid_request_error",
            param="tools[0].function.parameters",
        ),
        reason="bad_request",
        http_status=400,
        **_FAILED,
    ),
    Dialect(
        "OpenAI: context length",
        refused(
            400, code="context_length_exceeded", type="invalid_request_error", param="messages"
        ),
        reason="context_length",
        http_status=400,
        **_FAILED,
    ),
    Dialect(
        "vLLM: context length",
        StubResponse(
            400,
            {"object": "error", "message": "This model's maximum context length is 8192 tokens."},
        ),
        reason="context_length",
        http_status=400,
        **_FAILED,
    ),
    Dialect(
        "Groq: wrong key",
        refused(401, code="invalid_api_key"),
        reason="auth",
        http_status=401,
        **_FAILED,
    ),
    Dialect(
        "unknown model",
        refused(404, code="model_not_found"),
        reason="not_found",
        http_status=404,
        **_FAILED,
    ),
    Dialect("overloaded", refused(529), reason="server_error", http_status=529, **_FAILED),
    Dialect(
        "Groq: invalid call",
        refused(400, code="tool_use_failed", failed_generation="<function=weather"),
        reason="bad_answer",
        http_status=400,
        **_FAILED,
    ),
    Dialect(
        "Gemini: list of errors",
        StubResponse(
            400, json.dumps([{"error": {"code": 400, "message": "words of the provider"}}]).encode()
        ),
        reason="bad_request",
        http_status=400,
        **_FAILED,
    ),
    Dialect(
        "Ollama: text as error",
        StubResponse(500, {"error": "words of the provider"}),
        reason="server_error",
        http_status=500,
        **_FAILED,
    ),
    Dialect(
        "a gateway's page",
        StubResponse(502, b"<html>words of the provider</html>"),
        reason="server_error",
        http_status=502,
        **_FAILED,
    ),
    Dialect(
        "OpenAI: no credit",
        refused(429, code="insufficient_quota"),
        reason="quota",
        http_status=429,
        **_FAILED,
    ),
    Dialect(
        "Gemini: token count",
        StubResponse(
            400,
            {
                "error": {
                    "message": "The input token count (9) exceeds the maximum number of tokens."
                }
            },
        ),
        reason="context_length",
        http_status=400,
        **_FAILED,
    ),
    Dialect(
        "Azure: policy",
        refused(400, code="ResponsibleAIPolicyViolation"),
        status="incomplete",
        stop_reason="content_filter",
    ),
    Dialect(
        "a gateway: status in the error",
        {"error": {"status": 503, "message": "words of the provider"}},
        reason="server_error",
        http_status=503,
        **_FAILED,
    ),
    Dialect(
        "a filter with a hyphen",
        reply("Half", "Content-Filter"),
        stop_reason="content_filter",
        **_INCOMPLETE,
    ),
    *(
        Dialect(
            f"finish reason {word}", reply("Half", word), stop_reason=stop_reason, **_INCOMPLETE
        )
        for word, stop_reason in {
            "FinishReason.SAFETY": "content_filter",
            "contentFilter": "content_filter",
            "content_filter: PROHIBITED_CONTENT": "content_filter",
            "IMAGE_PROHIBITED_CONTENT": "content_filter",
            "guardrail_intervened": "content_filter",
            "maxTokens": "max_output_tokens",
            "model_context_window_exceeded": "max_output_tokens",
        }.items()
    ),
    Dialect(
        "vLLM: abort", reply("Half", "abort"), reason="server_error", http_status=200, **_FAILED
    ),
    Dialect(
        "tool_calls with text, without a call",
        reply("Half", "tool_calls"),
        reason="bad_answer",
        http_status=200,
        **_FAILED,
    ),
    Dialect(
        "Azure: filter in the inner error",
        refused(400, code=None, innererror={"code": "ResponsibleAIPolicyViolation"}),
        status="incomplete",
        stop_reason="content_filter",
    ),
    Dialect(
        "a filter as 403",
        refused(403, code="content_filter"),
        status="incomplete",
        stop_reason="content_filter",
    ),
    Dialect(
        "OpenAI: no credit, as type",
        refused(429, code=None, type="insufficient_quota"),
        reason="quota",
        http_status=429,
        **_FAILED,
    ),
    Dialect(
        "blanks alone",
        reply(" \n"),
        " \n",
        warning="The response is empty. Some models return only their reasoning.",
    ),
    Dialect("parts of the Responses API", reply([{"type": "output_text", "text": "42"}]), "42"),
    Dialect("parts without a type", reply(["4", {"text": "2"}]), "42"),
    Dialect("two reasonings", reply("<think>a</think>\n<THINKING>b</THINKING> 42"), "42"),
    Dialect("Qwen on Ollama: reasoning", reply("<think>\nhmm\n</think>\n\n42"), "42"),
    Dialect("reasoning in the middle", reply("42 <think>hmm</think>"), "42 <think>hmm</think>"),
    Dialect("Magistral: reasoning", reply("[THINK]hmm[/THINK]42"), "42"),
    Dialect("Gemma: reasoning", reply("<thought>hmm</thought>\n42"), "42"),
    Dialect("DeepSeek R1: opening tag in the template", reply("hmm\n</think>\n\n42"), "42"),
    Dialect(
        "a tag in a sentence", reply("Write </think> at the end."), "Write </think> at the end."
    ),
    Dialect("a refusal in parts", reply([{"type": "refusal", "refusal": "No."}]), "No."),
    Dialect("parts with null as type", reply([{"type": None, "text": "42"}]), "42"),
    Dialect("parts with type in upper case", reply([{"type": "TEXT", "text": "42"}]), "42"),
    Dialect("one part without text", reply([{"type": "text", "text": None}, 7, *_ANSWER]), "42"),
    Dialect("a part instead of a list", reply({"type": "text", "text": "42"}), "42"),
    Dialect("text in an object", reply([{"type": "text", "text": {"value": "42"}}]), "42"),
    Dialect(
        "Gemini: list of errors with the status 200",
        StubResponse(body=json.dumps([{"error": {"code": 429, "status": "X"}}]).encode()),
        reason="rate_limited",
        http_status=429,
        **_FAILED,
    ),
    *(
        Dialect(
            f"error with the status 200: {error}",
            body,
            reason=reason,
            http_status=status,
            **_FAILED,
        )
        for error, body, reason, status in [
            ("vLLM", {"object": "error", "code": 429, "message": "x"}, "rate_limited", 429),
            ("a decimal", {"error": {"code": 429.0}}, "rate_limited", 429),
            ("text", {"error": {"code": "503"}}, "server_error", 503),
            ("status_code", {"error": {"status_code": 429}}, "rate_limited", 429),
            ("Google", {"error": {"status": "RESOURCE_EXHAUSTED"}}, "rate_limited", 429),
            ("overloaded", {"error": {"type": "overloaded_error"}}, "server_error", 503),
            ("rate limit", {"error": {"code": "rate_limit_exceeded"}}, "rate_limited", 429),
            ("credit", {"error": {"code": "insufficient_quota"}}, "quota", 200),
            ("context", {"error": {"code": "context_length_exceeded"}}, "context_length", 200),
            ("key", {"error": {"code": "invalid_api_key"}}, "auth", 401),
            ("other", {"error": {"message": "words of the provider"}}, "server_error", 200),
        ]
    ),
    *(
        Dialect(
            f"context length: {message}",
            refused(400, message=message),
            reason="context_length",
            http_status=400,
            **_FAILED,
        )
        for message in (
            "This model's maximum prompt length is 131072 but the request contains 200000 tokens.",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096.",
            "Input is too long for requested model.",
        )
    ),
    Dialect(
        "Gemini: wrong key",
        refused(400, code=400, status="INVALID_ARGUMENT", details=[{"reason": "API_KEY_INVALID"}]),
        reason="auth",
        http_status=400,
        **_FAILED,
    ),
    Dialect(
        "a redirect",
        StubResponse(302, b"", {"Location": "https://example.com/v1"}),
        reason="bad_answer",
        http_status=302,
        **_FAILED,
    ),
    Dialect(
        "Qwen on Ollama: reasoning cut",
        reply("<think>\nhmm", "length"),
        status="incomplete",
        stop_reason="max_output_tokens",
    ),
]

# Messages that request a tool call, and the fields of the message and of the call that must be sent back.
_CALL: dict[str, Any] = {
    "id": "c1",
    "type": "function",
    "function": {"name": "weather", "arguments": "{}"},
}
ROUND_TRIPS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "OpenAI": (reply(None, "tool_calls", tool_calls=[_CALL]), {}, {}),
    "Claude through LiteLLM": (
        reply("", "tool_calls", thinking_blocks=[{"signature": "s"}], tool_calls=[_CALL]),
        {"thinking_blocks": [{"signature": "s"}]},
        {},
    ),
    "Gemini": (
        reply(
            None,
            "tool_calls",
            tool_calls=[{**_CALL, "extra_content": {"google": {"thought_signature": "abc"}}}],
        ),
        {},
        {"extra_content": {"google": {"thought_signature": "abc"}}},
    ),
    "DeepSeek": (
        reply("", "tool_calls", reasoning_content="hmm", tool_calls=[_CALL]),
        {"reasoning_content": "hmm"},
        {},
    ),
    "OpenRouter": (
        reply(
            "",
            "tool_calls",
            reasoning="hmm",
            reasoning_details=[{"type": "reasoning.encrypted", "data": "x"}],
            tool_calls=[_CALL],
        ),
        {"reasoning": "hmm", "reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {},
    ),
    "Mistral: thinking": (
        reply([*_THINKING, *_ANSWER], "tool_calls", tool_calls=[_CALL]),
        {"content": [*_THINKING, *_ANSWER]},
        {},
    ),
    "fields of the function": (
        reply(
            None,
            "tool_calls",
            tool_calls=[{**_CALL, "function": {**_CALL["function"], "thought_signature": "abc"}}],
        ),
        {},
        {"function": {**_CALL["function"], "thought_signature": "abc"}},
    ),
    "300 KB of reasoning": (
        reply("", "tool_calls", reasoning_content="hmm" * 100_000, tool_calls=[_CALL]),
        {"reasoning_content": "hmm" * 100_000},
        {},
    ),
    "an unpaired surrogate": (
        reply("", "tool_calls", reasoning_content="hmm \ud800", tool_calls=[_CALL]),
        {"reasoning_content": "hmm ?"},
        {},
    ),
    "text and calls in two choices": (
        {
            "id": "x",
            "object": "chat.completion",
            "choices": [
                {
                    "message": {"role": "assistant", "content": "Wait."},
                    "finish_reason": "tool_calls",
                },
                {
                    "message": {"role": "assistant", "content": None, "tool_calls": [_CALL]},
                    "finish_reason": "tool_calls",
                },
            ],
        },
        {"content": "Wait."},
        {},
    ),
}
