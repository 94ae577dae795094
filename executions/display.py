"""How pages show an execution."""

import json
import re
from datetime import datetime
from decimal import Decimal

from executions.models import Execution, Step
from map_project.api.texts import plain_amount

_TONES = {
    "succeeded": "good",
    "failed": "bad",
    "incomplete": "warn",
    **dict.fromkeys(map(str, Execution.ACTIVE), "busy"),
    "requires_action": "warn",
}
_APPROVAL_TONES = {"pending": "warn", "approved": "good", "declined": "bad"}
_UNKNOWN = "-"
_ZERO_PART = re.compile(" 0 (min|s)$")
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[^\s\[\]{},:"]+|[\[\]{},:]')
# Deeper texts are shown as they are: each level indents all of its lines.
_MAX_JSON_DEPTH = 20
# The steps of a run can have 8 MiB, and indenting 1 MiB takes a second.
_MAX_JSON_LENGTH = 20_000


def tone(status: str) -> str:
    """The color class of a status; neutral for an unknown one."""
    return _TONES.get(status, "plain")


def approval_tone(status: str) -> str:
    """The color class of the status of an approval."""
    return _APPROVAL_TONES.get(status, "plain")


def duration(milliseconds: float) -> str:
    """A duration in readable units: 12 ms, 3.4 s, 2 min 5 s, 1 h 10 min."""
    if milliseconds < 999.5:
        return f"{milliseconds:.0f} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1000:.1f} s"
    minutes, seconds = divmod(round(milliseconds / 1000), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def period(seconds: int) -> str:
    """A time of whole seconds, such as a window: 60 s, 2 min, 1 h 10 min."""
    return f"{seconds} s" if seconds <= 60 else _ZERO_PART.sub("", duration(1000 * seconds))


def latency(execution: Execution, now: datetime) -> str:
    """The duration of a run; of one that has not ended, the time since it was requested."""
    if execution.status not in Execution.ACTIVE:
        return duration(execution.latency_ms)
    elapsed = (now - execution.created_at).total_seconds()
    return f"{duration(1000 * max(elapsed, 0))} so far"


def tokens(execution: Execution) -> str:
    """Input and output tokens: 1,234 in, 56 out."""
    counts = (execution.input_tokens, execution.output_tokens)
    if counts == (None, None):
        return _UNKNOWN
    texts = (_UNKNOWN if count is None else f"{count:,}" for count in counts)
    return "{} in, {} out".format(*texts)


def cost(usd: Decimal | None) -> str:
    """A cost with all its digits, without trailing zeros."""
    return _UNKNOWN if usd is None else f"{plain_amount(usd)} USD"


def short_cost(usd: Decimal | None) -> str:
    """A cost with four significant digits, without its currency."""
    return _UNKNOWN if usd is None else plain_amount(Decimal(f"{usd:.4g}"))


def indented_json(text: str) -> str:
    """A JSON object or array with one entry per line; any other text as it is.

    Its strings and numbers are copied, because parsing and printing would change some of them.
    """
    is_long = len(text) > _MAX_JSON_LENGTH
    if is_long or text.lstrip()[:1] not in ("{", "[") or not _is_json(text):
        return text
    lines, depth = [], 0
    parts = _JSON_TOKEN.findall(text)
    for part, following in zip(parts, [*parts[1:], ""], strict=True):
        depth += (part in "[{") - (following in ("]", "}"))
        if depth > _MAX_JSON_DEPTH:
            return text
        lines.append(part + _separator(part, following, depth))
    return "".join(lines)


def step_texts(step: Step) -> list[tuple[str, str]]:
    """The labels and texts of a step, without empty ones."""
    if step.kind == Step.Kind.TOOL:
        texts = [("Arguments", step.input), ("Result", step.output)]
    else:
        calls = json.dumps(step.tool_calls, ensure_ascii=False) if step.tool_calls else ""
        texts = [
            ("New messages", step.input),
            ("Response", step.output),
            ("Requested calls", calls),
        ]
    return [(label, indented_json(text)) for label, text in texts if text]


def _separator(part: str, following: str, depth: int) -> str:
    if part == ":":
        return " "
    is_empty = part in ("[", "{") and following in ("]", "}")
    is_break = part in ("[", "{", ",") or following in ("]", "}")
    return "\n" + "  " * depth if is_break and not is_empty else ""


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
