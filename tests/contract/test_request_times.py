"""Times and dates in requests: RFC 3339 and nothing else, wherever a request has one."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from map_project.tenants.models import Tenant
from map_project.tenants.scopes import SCOPES
from tests.api import Answer, Api
from tests.conftest import api_of

TIMES = [
    *("2199-01-31T10:00:00Z", "2199-01-31t10:00:00z", "2199-01-31T10:00:00.0Z"),
    *("2199-01-31T10:00:00.000000000Z", "2199-01-31T12:00:00+02:00", "2199-01-31T10:00:00-00:00"),
    *("2199-01-31T15:30:00+05:30", "2199-01-30T11:00:00-23:00"),
]
NO_TIMES = {
    "empty": "",
    "a word": "tomorrow",
    "seconds since 1970": "7231111200",
    "a week": "2199-W05",
    "a day of a week": "2199-W05-4",
    "a day of a year": "2199-031",
    "a month": "2199-01",
    "a date without hyphens": "21990131",
    "a date with short numbers": "2199-1-31",
    "a date with Z": "2199-01-31Z",
    "month 13": "2199-13-01",
    "day 0": "2199-01-00",
    "30 February": "2199-02-30",
    "year 0": "0000-01-01",
    "a blank after": "2199-01-31 ",
    "a line break after": "2199-01-31\n",
    "full-width digits": "\uff12199-01-31",
    "no offset": "2199-01-31T10:00:00",
    "no seconds": "2199-01-31T10:00Z",
    "only hours": "2199-01-31T10Z",
    "no colons": "2199-01-31T100000Z",
    "a time in a week": "2199-W05-4T10:00:00Z",
    "a blank for T": "2199-01-31 10:00:00Z",
    "a blank before the offset": "2199-01-31T10:00:00 Z",
    "a comma": "2199-01-31T10:00:00,5Z",
    "an empty fraction": "2199-01-31T10:00:00.Z",
    "hour 24": "2199-01-31T24:00:00Z",
    "second 60": "2199-01-31T10:00:60Z",
    "30 February at 10": "2199-02-30T10:00:00Z",
    "an offset in hours": "2199-01-31T12:00:00+02",
    "an offset without a colon": "2199-01-31T12:00:00+0200",
    "an offset with seconds": "2199-01-31T12:00:00+02:00:30",
    "an offset of 24 hours": "2199-01-31T12:00:00+24:00",
    "an offset of 99 minutes": "2199-01-31T12:00:00+05:99",
    "the name of a zone": "2199-01-31T12:00:00[Europe/Berlin]",
}
OUT_OF_RANGE = ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
PARAMETERS = [
    *(("history", "since"), ("history", "until"), ("history/export", "since")),
    *(("usage", "from"), ("usage", "to")),
]
# `from` has to be before the end of the current month.
ACCEPTING = [parameter for parameter in PARAMETERS if parameter != ("usage", "from")]


def query(path: str, name: str) -> Callable[[Api, str], Answer]:
    return lambda api, text: api.get(f"{path}?{name}={quote(text)}")


@pytest.mark.parametrize(("path", "name"), ACCEPTING)
@pytest.mark.parametrize("text", [*TIMES, "2199-01-31"])
def test_a_parameter_is_a_time_or_a_date(api: Api, path: str, name: str, text: str) -> None:
    assert query(path, name)(api, text).status == 200


@pytest.mark.parametrize(("path", "name"), PARAMETERS)
@pytest.mark.parametrize("text", NO_TIMES.values(), ids=NO_TIMES)
def test_a_parameter_that_is_neither(api: Api, path: str, name: str, text: str) -> None:
    response = query(path, name)(api, text)
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert response.json["message"] == (
        f"{name} must be a date such as 2026-11-01, or an RFC 3339 time such as 2026-11-01T00:00:00Z. "
        "In a URL, + is written as %2B."
    )


@pytest.mark.parametrize(("path", "name"), PARAMETERS)
@pytest.mark.parametrize("text", OUT_OF_RANGE)
def test_a_parameter_out_of_range(api: Api, path: str, name: str, text: str) -> None:
    response = query(path, name)(api, text)
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert response.json["message"].startswith(f"{name} is out of range.")


class TestField:
    @pytest.fixture
    def send(self, tenant: Tenant) -> Callable[[Any], Answer]:
        api = api_of(tenant, SCOPES)
        return lambda value: api.post("keys", {"expires_at": value})

    @pytest.mark.parametrize("text", TIMES)
    def test_it_is_a_time(self, send: Callable[[Any], Answer], text: str) -> None:
        assert send(text).json["expires_at"] == "2199-01-31T10:00:00Z"

    @pytest.mark.parametrize("value", [*NO_TIMES.values(), "2199-01-31", 7231111200, True, [], {}])
    def test_a_value_that_is_none(self, send: Callable[[Any], Answer], value: Any) -> None:
        message = "Expected a time in RFC 3339, for example 2027-01-31T12:00:00Z."
        assert send(value).fields == {"expires_at": [message]}

    @pytest.mark.parametrize("text", OUT_OF_RANGE)
    def test_it_is_out_of_range(self, send: Callable[[Any], Answer], text: str) -> None:
        assert send(text).fields == {"expires_at": ["The time is out of range."]}
