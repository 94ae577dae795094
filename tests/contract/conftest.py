"""In these tests every answer is held against the OpenAPI document and the ground rules."""

import re
from typing import Any

import pytest

from tests.api import Answer, Api
from tests.contract import document
from tests.contract.writes import Rows

_OWN_BODY = ("/health", "/ready", "/admin")


@pytest.fixture(autouse=True)
def _every_answer_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Api.call

    def checked(self: Api, method: str, path: str, *args: Any, **kwargs: Any) -> Answer:
        answer = call(self, method, path, *args, **kwargs)
        full = path if path.startswith("/") else f"/api/v1/{path}"
        assert re.fullmatch("[A-Za-z0-9._-]{1,128}", answer.headers["x-request-id"])
        if answer.status >= 400 and method != "HEAD" and not full.startswith(_OWN_BODY):
            assert answer.error_code
        if method != "HEAD":
            document.check(method, full, answer)
        return answer

    monkeypatch.setattr(Api, "call", checked)


@pytest.fixture(scope="module")
def rows() -> Rows:
    """For calls that change nothing: shared by the tests of a file."""
    return Rows()


@pytest.fixture
def own_rows() -> Rows:
    """For calls that change something."""
    return Rows()
