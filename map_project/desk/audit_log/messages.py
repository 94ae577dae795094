"""Read the texts that `map_project.api.audit` writes: who made a change, and the values before and after."""

import json
import re
from dataclasses import dataclass

from map_project.api.audit import COMMAND_LINE

_KEY = re.compile(r"By the API key (\S+): ")
_COMMAND = re.compile(r"By the operating system's user (.+?): ")
# The first field follows a sentence, or nothing.
_FIRST = re.compile(r"(?:^|(?<=\. ))(?=\w+: )")
_NAME = re.compile(r"(\w+): ")
# An excerpt of a long value, and a word that is no JSON.
_EXCERPT = re.compile(r"…?.*?… \([\d,]+ characters\)", re.DOTALL)
_WORD = re.compile(r"[\w.+-]+")
_NOTE = " (only the entries that differ)"
_ARROW = " → "
_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Change:
    """A field. A new, deleted or secret one has no `before`."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry: who made the change, a sentence, and the fields."""

    who: str
    text: str
    changes: tuple[Change, ...]


def read(message: str, username: str) -> Entry:
    """The parts of an entry. A message of another form is the sentence as it is."""
    who = username
    if match := _KEY.match(message):
        who = f"API key {match[1]}…"
    elif match := _COMMAND.match(message):
        who = f"{match[1]} {COMMAND_LINE}"
    text = message[match.end() :] if match else message
    first = _FIRST.search(text)
    changes = _changes(text[first.start() :]) if first else None
    if first is None or changes is None:
        return Entry(who, text, ())
    return Entry(who, text[: first.start()].strip(), changes)


def _changes(text: str) -> tuple[Change, ...] | None:
    """The fields, each after a semicolon; None if the text is anything else."""
    found, position = [], 0
    while True:
        name = _NAME.match(text, position)
        end = _value_end(text, name.end()) if name else None
        if name is None or end is None:
            return None
        before, after = "", text[name.end() : end]
        if text.startswith(_ARROW, end):
            start, before = end + len(_ARROW), after
            end = _value_end(text, start)
            if end is None:
                return None
            after = text[start:end]
        if text.startswith(_NOTE, end):
            end += len(_NOTE)
            after += _NOTE
        found.append(Change(name[1], before, after))
        if end == len(text):
            return tuple(found)
        if not text.startswith("; ", end):
            return None
        position = end + 2


def _value_end(text: str, start: int) -> int | None:
    """The end of the value that starts here: JSON, an excerpt of JSON, or a word."""
    try:
        return _decoder.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        match = _WORD.match(text, start) or _EXCERPT.match(text, start)
        return match.end() if match else None
