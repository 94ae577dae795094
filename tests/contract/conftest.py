"""Check each response of these tests against the OpenAPI document and the common rules."""

import re
from typing import Any

import pytest

from tests.api import Answer, Api
from tests.contract import document
from tests.contract.writes import Rows

# Paths whose errors have another body.
_OTHER_ERRORS = ("/health", "/ready", "/admin", "/v1", "/mcp")


@pytest.fixture(autouse=True)
def _check_every_response(monkeypatch: pytest.MonkeyPatch) -> None:
    call = Api.call

    def checked_call(self: Api, method: str, path: str, *args: Any, **kwargs: Any) -> Answer:
        response = call(self, method, path, *args, **kwargs)
        full_path = path if path.startswith("/") else f"/api/v1/{path}"
        assert re.fullmatch("[A-Za-z0-9._-]{1,128}", response.headers["x-request-id"])
        if response.status >= 400 and method != "HEAD" and not full_path.startswith(_OTHER_ERRORS):
            assert response.error_code
        if method != "HEAD":
            document.check(method, full_path, response)
        return response

    monkeypatch.setattr(Api, "call", checked_call)


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Rows for calls that change nothing, shared by the tests of a module."""
    return Rows()


@pytest.fixture
def own_rows() -> Rows:
    """Rows for calls that change them."""
    return Rows()
