"""The envelope of every list, and its bounds."""

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
    answer = api.get(route)
    assert answer.status == 200
    assert list(answer.json) == FIELDS
    assert answer.json == {"items": [], "total": 0, "limit": 20, "offset": 0, "has_more": False}


@pytest.mark.parametrize("route", LISTS)
def test_pages_follow_each_other_without_gap_or_repetition(
    api: Api, tenant: Tenant, route: str
) -> None:
    fill(route, tenant, 23)
    whole = ids(api.get(f"{route}?limit=100").json)
    assert len(set(whole)) == 23
    first = api.get(route).json
    assert (ids(first), first["has_more"]) == (whole[:20], True)
    second = api.get(f"{route}?offset=20").json
    assert second == {**second, "total": 23, "limit": 20, "offset": 20, "has_more": False}
    assert ids(second) == whole[20:]
    one = api.get(f"{route}?limit=1&offset=22").json
    assert (ids(one), one["limit"], one["has_more"]) == (whole[22:], 1, False)
    last_but_one = api.get(f"{route}?limit=1&offset=21").json
    assert last_but_one["has_more"] is True


@pytest.mark.parametrize("route", LISTS)
@pytest.mark.parametrize("offset", [23, 24, 2147483647])
def test_past_the_end_there_is_nothing(api: Api, tenant: Tenant, route: str, offset: int) -> None:
    fill(route, tenant, 23)
    answer = api.get(f"{route}?offset={offset}")
    assert answer.status == 200
    assert answer.json == {
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
        ("limit=5&limit=6", 6, 0),
        ("limit=0&limit=6", 6, 0),
        ("LIMIT=0&Offset=x&page=-1", 20, 0),
    ],
)
def test_what_is_within_the_bounds_is_taken(api: Api, query: str, limit: int, offset: int) -> None:
    answer = api.get(f"tools?{query}")
    assert (answer.status, answer.json["limit"], answer.json["offset"]) == (200, limit, offset)


NO_NUMBERS = {
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
@pytest.mark.parametrize("text", NO_NUMBERS.values(), ids=NO_NUMBERS)
def test_what_is_no_whole_number_is_refused(rows: Rows, name: str, text: str) -> None:
    for route in LISTS:
        answer = rows.api.get(f"{route}?{name}={quote(text)}")
        assert (answer.status, answer.error_code) == (400, "INVALID_PAGINATION"), text
        assert answer.details == {name: {"provided": text, **BOUNDS[name]}}


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
def test_what_is_out_of_bounds_names_the_bound_it_broke(
    rows: Any, name: str, text: str, bound: str
) -> None:
    for route in LISTS:
        answer = rows.api.get(f"{route}?{name}={text}")
        assert (answer.status, answer.error_code) == (400, "INVALID_PAGINATION")
        assert answer.details == {name: {"provided": text, bound: BOUNDS[name][bound]}}


def test_both_are_told_at_once(rows: Rows) -> None:
    answer = rows.api.get("history?offset=x&limit=0")
    assert answer.details == {
        "limit": {"provided": "0", "minimum": 1},
        "offset": {"provided": "x", "minimum": 0, "maximum": 2147483647},
    }


def test_nothing_is_refused_where_nothing_is_listed(rows: Rows) -> None:
    assert rows.api.get(f"tools/{rows.tool.pk}?limit=0&offset=x").status == 200
