"""Whatever the suite logs, its servers' processes included, is searched for what tests sent that no
log may hold: keys, prompts, query strings, and responses.

A plugin, loaded by `tests/conftest.py`. It sees what pytest captured: nothing under `pytest -s`.
"""

import re
from collections.abc import Iterator
from functools import wraps
from typing import Any

import pytest
from django.conf import settings

from tests.api import Answer, Api

# Less is no secret: it may stand in a log for other reasons, as a key's prefix does.
_LEAST_CHARACTERS = 16
_LEAST_DIFFERENT = 6
# Of a long text, this much gives it away.
_TELLING_CHARACTERS = 40
_A_KEY = re.compile(r"map_[\w-]{43}")
# Printed by commands that are asked for it.
_NO_LOG_LINE = re.compile(r"^map_[\w-]{43}$", re.MULTILINE)


class LogGuard:
    """What was sent, and what was logged."""

    def __init__(self) -> None:
        self.secrets: dict[str, str] = {}
        self.logged: list[tuple[str, str]] = []
        self.note("SECRET_KEY", settings.SECRET_KEY)
        self.note("the database's password", str(settings.DATABASES["default"]["PASSWORD"]))

    def note(self, kind: str, text: object) -> None:
        if not isinstance(text, str) or len(text) < _LEAST_CHARACTERS:
            return
        telling = text[:_TELLING_CHARACTERS]
        if len(set(telling)) >= _LEAST_DIFFERENT:
            self.secrets[telling] = kind

    def leaks(self) -> Iterator[str]:
        """A sentence for each."""
        for test, text in self.logged:
            for secret, kind in self.secrets.items():
                if secret in text:
                    yield f"{test}: {kind} in the log: {secret!r}"
            if _A_KEY.search(_NO_LOG_LINE.sub("", text)):
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
        for sentence in self.found:
            terminalreporter.write_line(f"LEAK {sentence}", red=True)

    def watch(self, client: type[Api]) -> None:
        """Note what the tests' clients send, and what they get from the model."""
        call = client.call

        @wraps(call)
        def noting(api: Api, method: str, path: str, body: Any = None, **others: Any) -> Answer:
            self.note("an API key", api.key)
            self.note("a query string", path.partition("?")[2])
            self.note("a prompt", body.get("prompt") if isinstance(body, dict) else None)
            answer = call(api, method, path, body, **others)
            if path.endswith("/run") and answer.status == 200:
                self.note("a response", answer.json["response"])
            return answer

        client.call = noting  # type: ignore[assignment,method-assign]


def pytest_configure(config: pytest.Config) -> None:
    guard = LogGuard()
    guard.watch(Api)
    config.pluginmanager.register(guard, "log-guard")
