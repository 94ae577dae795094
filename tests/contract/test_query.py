"""Query parameters: those of the OpenAPI document, and no others."""

import re
from typing import Any

import pytest

from tests.api import Api
from tests.contract.document import document, operations
from tests.contract.writes import Rows

OPERATIONS = [(method, path) for method, _, path in operations() if path.startswith("/api/v1/")]


def parameters(method: str, path: str) -> list[str]:
    operation: Any = document()["paths"][path][method.lower()]
    return [each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=str)
@pytest.mark.parametrize(
    "query", ["page=2", "color=red", "Limit=5", "limit[]=5", "=", "limit=5&stream=true"]
)
def test_an_unknown_parameter_is_named(rows: Rows, method: str, path: str, query: str) -> None:
    name = re.split("[=&]", query)[-2]
    known = parameters(method, path)
    url = re.sub(r"\{\w+\}", str(rows.agent.pk), path)
    response = rows.api.call(method, f"{url}?{query}", None if method == "GET" else {})
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert name in response.details["unknown_parameters"]
    assert sorted(response.details["known_parameters"]) == sorted(known)
    assert response.details["unknown_parameters"][0] in response.json["message"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS, ids=str)
def test_a_repeated_parameter_is_named(rows: Rows, method: str, path: str) -> None:
    """Its last value would be used, and the others ignored."""
    url = re.sub(r"\{\w+\}", str(rows.agent.pk), path)
    for parameter in parameters(method, path):
        name = parameter.replace("<key>", "ticket")
        for query in (f"{name}=1&{name}=1", f"{name}=1&{name}=", f"{name}=&{name}=2&{name}=3"):
            response = rows.api.call(method, f"{url}?{query}")
            assert (response.status, response.error_code) == (400, "BAD_REQUEST")
            assert response.details == {"repeated_parameters": [name]}
            assert response.json["message"] == f"{name} must not be repeated."


def test_all_repeated_parameters_are_named(api: Api) -> None:
    query = "cursor=a&q=x&status=failed&cursor=b&metadata.a=1&q=y&metadata.b=1&metadata.b=2"
    details = api.get(f"history?{query}").details
    assert details == {"repeated_parameters": ["cursor", "q", "metadata.b"]}
    many = "&".join(f"metadata.{number}=1" for number in range(500))
    assert len(api.get(f"history?{many}&{many}").details["repeated_parameters"]) == 20
    unknown = api.get("tools?page=1&page=2&limit=1&limit=2").details
    assert unknown["unknown_parameters"] == ["page"]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("tools", "limit=1&offset=0&agent_name=x"),
        ("agents", "limit=1&offset=0&tool_name=x"),
        ("history", "limit=1&offset=0"),
        ("history", "metadata.a=1&metadata.b=1&q=x"),
        ("usage", "group_by=model,agent"),
        ("models", "limit=1&offset=0"),
    ],
)
def test_known_parameters_are_accepted(rows: Rows, path: str, query: str) -> None:
    assert rows.api.get(f"{path}?{query}").status == 200
    assert rows.api.call("HEAD", f"{path}?{query}").status == 200
    assert rows.api.call("HEAD", f"{path}?{query}&x=1").status == 400


def test_the_first_unknown_parameters_are_named(api: Api) -> None:
    response = api.get("tools?" + "&".join(f"x{number}=1" for number in range(500)))
    assert response.details["unknown_parameters"] == [f"x{number}" for number in range(20)]


def test_other_errors_come_first(api: Api) -> None:
    assert Api().get("tools?page=2").error_code == "MISSING_API_KEY"
    assert api.call("PUT", "tools?page=2").error_code == "METHOD_NOT_ALLOWED"
    assert api.get("nowhere?page=2").error_code == "NOT_FOUND"
