"""Pagination of the lists, and its bounds."""

from typing import Any
from urllib.parse import quote

import pytest

from map_project.tenants.models import Tenant
from tests.api import Api
from tests.contract.shapes import ids
from tests.contract.writes import Rows
from tests.factories import AgentFactory, ExecutionFactory, ToolFactory

LISTS = ["tools", "agents", "history"]
FIELDS = ["items", "total", "limit", "offset", "has_more"]


def fill(route: str, tenant: Tenant, count: int) -> None:
    if route == "history":
        ExecutionFactory.create_batch(count, agent=AgentFactory.create(tenant=tenant))
    else:
        factories: dict[str, Any] = {"tools": ToolFactory, "agents": AgentFactory}
        factories[route].create_batch(count, tenant=tenant)


@pytest.mark.parametrize("route", LISTS)
def test_an_empty_list(api: Api, route: str) -> None:
    response = api.get(route)
    assert response.status == 200
    assert list(response.json) == FIELDS
    assert response.json == {"items": [], "total": 0, "limit": 20, "offset": 0, "has_more": False}


@pytest.mark.parametrize("route", LISTS)
def test_pages_have_no_gaps_and_no_duplicates(api: Api, tenant: Tenant, route: str) -> None:
    fill(route, tenant, 23)
    all_ids = ids(api.get(f"{route}?limit=100").json)
    assert len(set(all_ids)) == 23
    first = api.get(route).json
    assert (ids(first), first["has_more"]) == (all_ids[:20], True)
    second = api.get(f"{route}?offset=20").json
    assert second == {**second, "total": 23, "limit": 20, "offset": 20, "has_more": False}
    assert ids(second) == all_ids[20:]
    last = api.get(f"{route}?limit=1&offset=22").json
    assert (ids(last), last["limit"], last["has_more"]) == (all_ids[22:], 1, False)
    next_to_last = api.get(f"{route}?limit=1&offset=21").json
    assert next_to_last["has_more"] is True


@pytest.mark.parametrize("route", LISTS)
@pytest.mark.parametrize("offset", [23, 24, 2147483647])
def test_a_page_past_the_end_is_empty(api: Api, tenant: Tenant, route: str, offset: int) -> None:
    fill(route, tenant, 23)
    response = api.get(f"{route}?offset={offset}")
    assert response.status == 200
    assert response.json == {
        "items": [],
        "total": 23,
        "limit": 20,
        "offset": offset,
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("query", "limit", "offset"),
    [
        ("limit=1", 1, 0),
        ("limit=100", 100, 0),
        ("limit=007", 7, 0),
        ("offset=0", 20, 0),
        ("offset=2147483647", 20, 2147483647),
        (f"offset={'0' * 5000}1", 20, 1),
    ],
)
def test_numbers_within_the_bounds_are_accepted(
    api: Api, query: str, limit: int, offset: int
) -> None:
    response = api.get(f"tools?{query}")
    assert (response.status, response.json["limit"], response.json["offset"]) == (
        200,
        limit,
        offset,
    )


INVALID_NUMBERS = {
    "empty": "",
    "a blank": " ",
    "a blank before": " 5",
    "a blank after": "5 ",
    "a line break after": "5\n",
    "a plus": "+5",
    "an underscore": "1_0",
    "Arabic digits": "\u0665",
    "full-width digits": "\uff15",
    "a superscript": "\u00b2",
    "a fraction": "5.0",
    "an exponent": "1e1",
    "hexadecimal": "0x10",
    "a word": "ten",
    "two numbers": "1,2",
    "minus alone": "-",
    "two minuses": "--5",
    "infinity": "Infinity",
    "NaN": "NaN",
    "null": "null",
    "true": "true",
    "a list": "[5]",
}
BOUNDS: dict[str, dict[str, Any]] = {
    "limit": {"minimum": 1, "maximum": 100},
    "offset": {"minimum": 0, "maximum": 2147483647},
}


@pytest.mark.parametrize("name", BOUNDS)
@pytest.mark.parametrize("text", INVALID_NUMBERS.values(), ids=INVALID_NUMBERS)
def test_an_invalid_number_is_rejected(rows: Rows, name: str, text: str) -> None:
    for route in LISTS:
        response = rows.api.get(f"{route}?{name}={quote(text)}")
        assert (response.status, response.error_code) == (400, "INVALID_PAGINATION"), text
        assert response.details == {name: {"provided": text, **BOUNDS[name]}}


@pytest.mark.parametrize(
    ("name", "text", "bound"),
    [
        ("limit", "0", "minimum"),
        ("limit", "000", "minimum"),
        ("limit", "-1", "minimum"),
        ("limit", "101", "maximum"),
        ("limit", "2147483648", "maximum"),
        ("limit", "9" * 5000, "maximum"),
        ("limit", f"-{'9' * 5000}", "minimum"),
        ("offset", "-1", "minimum"),
        ("offset", "-0", "minimum"),
        ("offset", "2147483648", "maximum"),
        ("offset", "18446744073709551616", "maximum"),
        ("offset", "1000000000001", "maximum"),
        ("offset", "9" * 5000, "maximum"),
    ],
)
def test_a_number_out_of_bounds_is_reported_with_its_bound(
    rows: Any, name: str, text: str, bound: str
) -> None:
    for route in LISTS:
        response = rows.api.get(f"{route}?{name}={text}")
        assert (response.status, response.error_code) == (400, "INVALID_PAGINATION")
        assert response.details == {name: {"provided": text, bound: BOUNDS[name][bound]}}


def test_errors_of_both_parameters_are_reported(rows: Rows) -> None:
    response = rows.api.get("history?offset=x&limit=0")
    assert response.details == {
        "limit": {"provided": "0", "minimum": 1},
        "offset": {"provided": "x", "minimum": 0, "maximum": 2147483647},
    }
