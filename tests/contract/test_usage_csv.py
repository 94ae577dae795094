"""`GET /api/v1/usage` as CSV."""

import csv
import io
from decimal import Decimal

import pytest

from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.factories import AgentFactory
from tests.usage import AMOUNTS, MARCH, NOTHING, ended, read, totalled


def lines(response: Answer) -> list[list[str]]:
    assert response.status == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8; header=present"
    return [*csv.reader(io.StringIO(response.content.decode(), newline=""))]


def test_the_lines_are_the_groups(tenant: Tenant) -> None:
    key, text = issue_key(tenant=tenant, name="ci")
    api, agent = Api(text), AgentFactory.create(tenant=tenant, name='a "b", c')
    ended(agent, key_prefix=key.prefix, input_tokens=3, cost_usd=Decimal("0.25"))
    totalled(tenant, key_prefix="", agent_id=agent.pk, agent_name=agent.name)
    response = api.get(f"usage?{MARCH}&group_by=day,key,agent&format=csv")
    header, *rows = lines(response)
    groups = ["day", "key_id", "key_name", "key_prefix", "agent_id", "agent_name"]
    assert header == [*groups, *AMOUNTS]
    name = 'a "b", c'
    assert rows == [
        ["2026-03-15", "", "", "", str(agent.pk), name, *"10000000"],
        [
            *("2026-03-15", str(key.pk), "ci", key.prefix, str(agent.pk), name),
            *("1", "0", "3", "0", "3", "0.25", "0", "0"),
        ],
    ]
    assert b'"a ""b"", c"' in response.content
    assert response.content.count(b"\r\n") == 3
    assert response.content.endswith(b"\r\n")
    disposition = response.headers["content-disposition"]
    assert disposition == 'attachment; filename="usage-2026-03-01-to-2026-04-01.csv"'


def test_without_groups_it_has_the_totals(api: Api, tenant: Tenant) -> None:
    response = api.get(f"usage?{MARCH}&format=csv")
    assert lines(response) == [AMOUNTS, [*"00000000"]]
    assert lines(api.get(f"usage?{MARCH}&format=csv&group_by=model")) == [["model", *AMOUNTS]]


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_cell_is_a_formula(tenant: Tenant, start: str) -> None:
    text = f'{start}HYPERLINK("http://x","y")'
    key, _ = issue_key(tenant=tenant, name=text)
    totalled(tenant, agent_name=text, model=text, key_prefix=key.prefix)
    response = api_of(tenant).get(f"usage?{MARCH}&group_by=model,agent,key&format=csv")
    _, row = lines(response)
    assert [row[0], row[2], row[4]] == [f"'{text}"] * 3
    names = read(api_of(tenant), f"{MARCH}&group_by=model,agent")["items"][0]
    assert (names["model"], names["agent"]["name"]) == (text, text)


@pytest.mark.parametrize(
    ("accept", "is_csv"),
    [
        ("text/csv", True),
        ("text/csv;q=0.9, application/json;q=0.5", True),
        ("application/json, text/csv", False),
        ("text/csv;q=0", False),
        ("text/html,*/*", False),
        ("*/*", False),
        ("nonsense", False),
        ("", False),
    ],
)
def test_accept(api: Api, accept: str, is_csv: bool) -> None:
    response = api.get(f"usage?{MARCH}", headers={"Accept": accept})
    assert response.headers["content-type"].startswith("text/csv") == is_csv
    assert "Accept" in response.headers["vary"]
    explicit = api.get(f"usage?{MARCH}&format=json", headers={"Accept": accept})
    assert explicit.json["totals"] == NOTHING


def test_errors_are_json(api: Api) -> None:
    headers = {"Accept": "text/csv"}
    assert api.get("usage?group_by=x", headers=headers).error_code == "BAD_REQUEST"
    assert Api().get("usage?format=csv", headers=headers).error_code == "MISSING_API_KEY"
