"""Removes the reasoning of a model from its text, where servers without a parser for it leave it."""

import re

_TAG = "(think|thinking|thought|reasoning)"
_TAGS = ("<think>", "<thinking>", "<thought>", "<reasoning>", "[think]")
_OPENING = re.compile(rf"<{_TAG}>|\[THINK\]", re.IGNORECASE)
# The opening tag may be in the prompt template of the model, as for DeepSeek R1 and Qwen.
_LONE_CLOSING = re.compile(rf"\n\s*</{_TAG}>\s*\n", re.IGNORECASE)
_MAX_CLOSING_CHARACTERS = len("</reasoning>")


def without_reasoning(text: str) -> str:
    """Return a text without the reasoning before it: in tags, or before a closing tag in its own line."""
    stream = TextStream()
    visible = stream.add(text) + stream.finish()
    if visible != text:
        return visible
    end = _LONE_CLOSING.search(text)
    if end and f"<{end[1]}>" not in text[: end.start()]:
        return text[end.end() :].lstrip()
    return text


class TextStream:
    """A text that arrives in pieces, without the reasoning in tags at its beginning.

    A piece is held back while it may belong to the reasoning. Reasoning without an opening tag stays in the
    text: its closing tag is the first sign of it, so all text would have to be held back until the end.
    """

    def __init__(self) -> None:
        self._held = ""
        # Of reasoning that has begun.
        self._closing: re.Pattern[str] | None = None
        self._has_reasoning = False
        self._is_answer = False

    def add(self, piece: str) -> str:
        """Return the text to stream, which may be empty."""
        if self._is_answer:
            return piece
        self._held += piece
        while self._closing is not None or self._find_opening():
            if not self._find_closing():
                return ""
        head = self._held.lstrip().lower()
        if any(tag.startswith(head) for tag in _TAGS):
            return ""
        self._is_answer = True
        return self._rest()

    def finish(self) -> str:
        """Return the text that was held back and is no reasoning. Reasoning may end with the text."""
        return "" if self._is_answer or self._closing is not None else self._rest()

    def _rest(self) -> str:
        return self._held.lstrip() if self._has_reasoning else self._held

    def _find_opening(self) -> bool:
        head = self._held.lstrip()
        opening = _OPENING.match(head)
        if opening is None:
            return False
        closing = f"</{opening[1]}>" if opening[1] else r"\[/THINK\]"
        self._closing = re.compile(closing, re.IGNORECASE)
        self._held = head[opening.end() :]
        self._has_reasoning = True
        return True

    def _find_closing(self) -> bool:
        closing = self._closing.search(self._held) if self._closing else None
        if closing is None:
            # The closing tag may have begun.
            self._held = self._held[-_MAX_CLOSING_CHARACTERS:]
            return False
        self._closing, self._held = None, self._held[closing.end() :]
        return True
