"""Fail the session if a log contains API keys, prompts, query strings or responses of models.

A plugin, loaded by `tests/conftest.py`. It searches the output of the tests and their servers that
pytest captures. With `pytest -s` it finds nothing.
"""

import re
from collections.abc import Iterator
from functools import wraps
from typing import Any

import pytest
from django.conf import settings

from tests.api import Answer, Api

# A shorter text may be in a log for other reasons, for example the prefix of a key.
_MIN_CHARACTERS = 16
_MIN_DISTINCT_CHARACTERS = 6
# The beginning of a long text is sufficient.
_SEARCHED_CHARACTERS = 40
_API_KEY = re.compile(r"map_[\w-]{43}")
# The output of a command that creates a key.
_PRINTED_KEY = re.compile(r"^map_[\w-]{43}$", re.MULTILINE)


class LogGuard:
    """The confidential texts of the tests, and the logs."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.logged: list[tuple[str, str]] = []
        self.note("SECRET_KEY", settings.SECRET_KEY)
        self.note("the password of the database", str(settings.DATABASES["default"]["PASSWORD"]))

    def note(self, kind: str, text: object) -> None:
        if not isinstance(text, str) or len(text) < _MIN_CHARACTERS:
            return
        beginning = text[:_SEARCHED_CHARACTERS]
        if len(set(beginning)) >= _MIN_DISTINCT_CHARACTERS:
            self.secrets[beginning] = kind

    def leaks(self) -> Iterator[str]:
        """Yield a message for each leak."""
        for test, text in self.logged:
            for secret, kind in self.secrets.items():
                if secret in text:
                    yield f"{test}: {kind} in the log: {secret!r}"
            if _API_KEY.search(_PRINTED_KEY.sub("", text)):
                yield f"{test}: an API key in the log"

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.capstderr:
            self.logged.append((report.nodeid, report.capstderr))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.found = sorted(set(self.leaks()))
        if self.found and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for message in self.found:
            terminalreporter.write_line(f"LEAK {message}", red=True)

    def watch(self, client: type[Api]) -> None:
        """Note the confidential texts that clients send, and the responses of models."""
        call = client.call

        @wraps(call)
        def noting_call(
            api: Api, method: str, path: str, body: Any = None, **options: Any
        ) -> Answer:
            self.note("an API key", api.key)
            self.note("a query string", path.partition("?")[2])
            self.note("a prompt", body.get("prompt") if isinstance(body, dict) else None)
            response = call(api, method, path, body, **options)
            is_json = response.headers.get("content-type") == "application/json"
            if path.endswith("/run") and response.status == 200 and is_json:
                self.note("a response", response.json["response"])
            return response

        client.call = noting_call  # type: ignore[assignment,method-assign]


def pytest_configure(config: pytest.Config) -> None:
    guard = LogGuard()
    guard.watch(Api)
    config.pluginmanager.register(guard, "log-guard")
