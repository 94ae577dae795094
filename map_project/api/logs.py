"""The log: a JSON object a line, or in development a line for people.

Everybody writes to the standard library's loggers, Django and gunicorn too, and structlog makes the
text. Nothing that a caller sent is in it: no key, no prompt, no path, no query string. An exception
is told by where it was raised, its type and the first line of its message; in the lines after it
PostgreSQL quotes whole rows.
"""

import json
import logging
import logging.config
import os
import re
import traceback
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, ExcInfo, Processor

from map_project.api import request_id

_MESSAGE_CHARACTERS = 200
# A key after its prefix; a password in an address.
_SECRET = re.compile(r"(map_[\w-]{8})[\w-]{35}|(://[^:/@\s]*:)[^/\s]+(?=@)")
# gunicorn quotes what it could not read, and gives addresses with their query.
_QUOTED_BY_GUNICORN = re.compile(r"(\?|: b?['\"]).*", re.DOTALL)


def configure(config: dict[str, Any]) -> None:
    """Django's `LOGGING_CONFIG`: puts the setting `LOGGING` into effect. structlog's own loggers, on
    which requests wait, write past the standard library, which takes three times as long.
    """
    readable = config["formatters"]["line"]["readable"]
    # Or a line that cannot be made is told with all that should have been in it.
    logging.raiseExceptions = readable
    logging.config.dictConfig(config)
    structlog.configure(
        processors=[_headed, _renderer(readable)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_StandardError,
        cache_logger_on_first_use=True,
    )


def formatter(*, readable: bool) -> ProcessorFormatter:
    """What makes a line of a standard record, for the setting `LOGGING`."""
    return ProcessorFormatter(
        foreign_pre_chain=[_headed, _redacted],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.ExceptionRenderer(_told),
            _renderer(readable),
        ],
    )


class StandardError(logging.Handler):
    """Where standard records end."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write(self.format(record))
        except Exception:
            self.handleError(record)


class _StandardError:
    """Where structlog's own loggers end. `name` is theirs."""

    def __init__(self, name: str) -> None:
        self.name = name

    def info(self, line: str) -> None:
        _write(line)

    warning = error = critical = info


def _write(line: str) -> None:
    """Whole lines, whoever else writes. A log that cannot be written stops nobody."""
    with suppress(OSError):
        os.write(2, f"{line}\n".encode(errors="backslashreplace"))


def _renderer(readable: bool) -> Processor:
    if not readable:
        return _as_json
    return structlog.dev.ConsoleRenderer(
        colors=False,
        pad_event_to=0,
        sort_keys=False,
        exception_formatter=structlog.dev.plain_traceback,
    )


def _headed(logger: Any, level: str, event: EventDict) -> EventDict:
    """What every line has, first; in one step, because a request waits for it."""
    record = event.get("_record")
    head: EventDict = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "logger": (record or logger).name,
        "event": event.pop("event"),
    }
    if (identifier := request_id.current()) != request_id.NONE:
        head["request_id"] = identifier
    return {**head, **event}


def _redacted(_logger: Any, _level: str, event: EventDict) -> EventDict:
    """Of lines that others word."""
    text = event["event"]
    if event["logger"].startswith("gunicorn"):
        text = _QUOTED_BY_GUNICORN.sub("", text)
    event["event"] = _without_secrets(text)
    return event


def _without_secrets(text: str) -> str:
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}***", text)


def _told(exc_info: ExcInfo) -> str:
    return "\n".join(reversed([*_errors(exc_info[1])]))


def _errors(error: BaseException | None) -> Iterator[str]:
    """The error and what led to it, the first cause last."""
    for _ in range(10):
        if error is None:
            return
        message = (str(error).splitlines() or [""])[0][:_MESSAGE_CHARACTERS]
        places = "".join(traceback.format_tb(error.__traceback__))
        yield f"{places}{type(error).__qualname__}: {_without_secrets(message)}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _as_json(_logger: Any, _level: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:
        # Text that is not Unicode.
        return json.dumps(event, default=str)
