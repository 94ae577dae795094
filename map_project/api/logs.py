"""Logging: one JSON object per line, or plain text in development.

Code, Django and gunicorn use the loggers of the standard library; structlog formats the lines. A line
contains nothing that a caller sent: no key, prompt, path or query string. Of an exception it contains the
traceback, the type and the first line of the message, because PostgreSQL quotes rows in the next lines.
"""

import json
import logging
import logging.config
import os
import re
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
import structlog
from structlog.contextvars import get_contextvars
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, ExcInfo, Processor

from map_project.api import request_id

_MESSAGE_CHARACTERS = 200
# The part of an API key after its prefix, and a password in a URL.
_SECRET = re.compile(r"(map_[\w-]{8})[\w-]{35}|(://[^:/@\s]*:)[^/\s]+(?=@)")
# gunicorn quotes invalid input, and logs URLs with their query string.
_QUOTED_BY_GUNICORN = re.compile(r"(\?|: b?['\"]).*", re.DOTALL)


def logging_config(*, readable: bool) -> dict[str, Any]:
    """Return the setting `LOGGING`. `readable`: plain text instead of JSON."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter, "readable": readable}},
        "handlers": {"stderr": {"()": StandardError, "formatter": "line"}},
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            # With DEBUG, Django adds its own handler.
            "django": {"handlers": []},
            # The request log already contains these errors, with more details.
            "django.request": {"level": "CRITICAL"},
            "django.security.DisallowedHost": {"level": "CRITICAL"},
            "axes": {"level": "WARNING"},
            "procrastinate": {"level": "WARNING"},
            "psycopg.pool": {"level": "ERROR"},
            # It logs a warning for every HEAD request.
            "gunicorn.http.wsgi": {"level": "ERROR"},
        },
    }


def configure(config: dict[str, Any]) -> None:
    """Apply the setting `LOGGING`. This function is Django's `LOGGING_CONFIG`.

    structlog's loggers, used for each request, bypass the standard library, which takes three times as long.
    """
    readable = config["formatters"]["line"]["readable"]
    # The report of a line that cannot be formatted contains its arguments, possibly secrets.
    logging.raiseExceptions = readable
    logging.config.dictConfig(config)
    structlog.configure(
        processors=[_add_common_fields, _renderer(readable)],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=_StandardError,
        cache_logger_on_first_use=True,
    )


def formatter(*, readable: bool) -> ProcessorFormatter:
    """Return the formatter for records of the standard library."""
    return ProcessorFormatter(
        foreign_pre_chain=[_add_common_fields, _redact_event],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.ExceptionRenderer(_format_exception),
            _renderer(readable),
        ],
    )


class StandardError(logging.Handler):
    """The handler for records of the standard library."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            _write(self.format(record))
        except Exception:
            self.handleError(record)


class _StandardError:
    """The output of structlog's loggers. structlog passes the name of the logger."""

    def __init__(self, name: str) -> None:
        self.name = name

    def info(self, line: str) -> None:
        _write(line)

    warning = error = critical = info


def _write(line: str) -> None:
    """Write a line with one system call, so that lines of processes do not mix. Ignores errors."""
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


def _add_common_fields(logger: Any, level: str, event: EventDict) -> EventDict:
    """Put the fields that every line has first. One processor, because it runs for each request."""
    record = event.get("_record")
    common: EventDict = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "level": level,
        "logger": (record or logger).name,
        "event": event.pop("event"),
    }
    if (identifier := request_id.current()) != request_id.NONE:
        common["request_id"] = identifier
    return {**common, **get_contextvars(), **event}


def _redact_event(_logger: Any, _level: str, event: EventDict) -> EventDict:
    """Remove secrets from the messages of libraries."""
    text = event["event"]
    if event["logger"].startswith("gunicorn"):
        text = _QUOTED_BY_GUNICORN.sub("", text)
    event["event"] = _redact(text)
    return event


def _redact(text: str) -> str:
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}***", text)


def _format_exception(exc_info: ExcInfo) -> str:
    """Format the error and at most nine of its causes, the first cause first."""
    parts: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None and len(parts) < 10:
        message = (str(error).splitlines() or [""])[0][:_MESSAGE_CHARACTERS]
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.append(f"{frames}{type(error).__qualname__}: {_redact(message)}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return "\n".join(reversed(parts))


def _as_json(_logger: Any, _level: str, event: EventDict) -> str:
    try:
        return orjson.dumps(event, default=str).decode()
    except TypeError:
        # orjson rejects lone surrogates.
        return json.dumps(event, default=str)
