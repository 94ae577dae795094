"""Examples of the OpenAPI document."""

from typing import Any

HEX = "0197a3c277aa7f3bb6a051c3a9d1e004"
TIME = 1_795_341_600
MODEL = {"id": "Researcher", "object": "model", "created": TIME, "owned_by": "Tenant A"}
MESSAGE: dict[str, Any] = {
    "id": f"msg_{HEX}000",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [
        {"type": "output_text", "text": "Sales grew by 4 %.", "annotations": [], "logprobs": []}
    ],
    "phase": "final_answer",
}
PROMPT = "What changed in the third quarter?"
INPUT_MESSAGE: dict[str, Any] = {
    "id": f"msg_{HEX}i000",
    "type": "message",
    "status": "completed",
    "role": "user",
    "content": [{"type": "input_text", "text": PROMPT}],
}
RESPONSE = {
    "id": f"resp_{HEX}",
    "object": "response",
    "created_at": TIME,
    "completed_at": TIME + 2,
    "status": "completed",
    "incomplete_details": None,
    "model": "Researcher",
    "previous_response_id": None,
    "conversation": None,
    "instructions": None,
    "output": [MESSAGE],
    "error": None,
    "tools": [],
    "tool_choice": "auto",
    "truncation": "auto",
    "parallel_tool_calls": False,
    "text": {"format": {"type": "text"}},
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "top_logprobs": 0,
    "temperature": 1,
    "reasoning": None,
    "user": None,
    "usage": {
        "input_tokens": 412,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 58,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 470,
    },
    "max_output_tokens": None,
    "max_tool_calls": None,
    "store": True,
    "background": False,
    "service_tier": "default",
    "metadata": {},
    "safety_identifier": None,
    "prompt_cache_key": None,
}
CONVERSATION: dict[str, Any] = {
    "id": "conv_0197a3c45be27d189a032f7b6c1e8d55",
    "object": "conversation",
    "created_at": TIME,
    "metadata": {"ticket": "4711"},
}
CHOICE = {
    "index": 0,
    "message": {
        "role": "assistant",
        "content": "Sales grew by 4 %.",
        "refusal": None,
        "annotations": [],
    },
    "logprobs": None,
    "finish_reason": "stop",
}
CHAT_COMPLETION = {
    "id": f"chatcmpl-{HEX}",
    "object": "chat.completion",
    "created": TIME,
    "model": "Researcher",
    "choices": [CHOICE],
    "usage": {
        "prompt_tokens": 412,
        "completion_tokens": 58,
        "total_tokens": 470,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
}
