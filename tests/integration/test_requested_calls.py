"""Tool calls as models request them: unusual names and arguments."""

import ipaddress
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agents.models import LanguageModel
from tests.api import Api
from tests.stub_model import StubModel, completion
from tests.tool_server import tool_server

RunCall = Callable[[str, Any], tuple[Any, Any]]


@pytest.fixture(scope="module")
def tool_port() -> Iterator[int]:
    with tool_server() as port:
        yield port


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings: Any) -> None:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.0/8"),)


@pytest.fixture
def model(model_server: StubModel) -> Iterator[str]:
    row = LanguageModel.objects.create(
        name="requesting", provider="openai", base_url=model_server.url, max_retries=0
    )
    yield row.name
    row.delete()


@pytest.fixture
def agent(api: Api, tool_port: int) -> str:
    parameters = {"type": "object", "properties": {"city": {"type": "string"}, "q": {}}}
    http = {"method": "GET", "url": f"http://127.0.0.1:{tool_port}/echo"}
    tools = [
        api.post(
            "tools",
            {
                "name": name,
                "description": "d",
                "kind": "http",
                "parameters": parameters,
                "http": http,
            },
        ).json["id"]
        for name in ("weather", "web search")
    ]
    body = {"name": "Ada", "role": "r", "description": "d", "tool_ids": tools}
    identifier: str = api.post("agents", body).json["id"]
    return identifier


@pytest.fixture
def run_call(api: Api, model_server: StubModel, agent: str, model: str) -> RunCall:
    """Return a function that runs the agent on a model that requests one call.

    It returns the step of the call, and the call in the next request to the model.
    """

    def run(name: str, arguments: Any) -> tuple[Any, Any]:
        model_server.says(completion(None, calls=[(name, arguments)]), completion("Done."))
        run = api.run(agent, model=model)
        assert run.status == 200, run.content
        steps = api.get(f"history/{run.json['execution_id']}").json["steps"]
        _, _, assistant, result = model_server.requests[1].body["messages"]
        (call,) = assistant["tool_calls"]
        assert result["name"] == call["function"]["name"]
        assert result["content"] == steps[1]["output"]
        return steps[1], call["function"]

    return run


@pytest.mark.parametrize("name", ["weather", " weather ", "functions.weather", "Weather"])
def test_a_name_that_means_one_tool_calls_it(run_call: RunCall, name: str) -> None:
    step, sent = run_call(name, '{"city": "Oslo"}')
    assert (step["name"], step["error"]) == ("weather", None)
    assert json.loads(step["output"])["path"] == "/echo?city=Oslo"
    assert sent == {"name": "weather", "arguments": '{"city": "Oslo"}'}


def test_the_name_that_the_tenant_gave_calls_the_tool(
    run_call: RunCall, model_server: StubModel
) -> None:
    step, sent = run_call("web search", "{}")
    assert (step["name"], step["error"]) == ("web search", None)
    (offered,) = [
        tool["function"]["name"]
        for tool in model_server.requests[0].body["tools"]
        if tool["function"]["name"] != "weather"
    ]
    assert sent["name"] == offered


@pytest.mark.parametrize("arguments", ["", "  ", "null", "{}", "\nnull "])
def test_no_arguments_may_be_written_as_null_or_nothing(run_call: RunCall, arguments: str) -> None:
    step, sent = run_call("weather", arguments)
    assert step["error"] is None
    assert json.loads(step["output"])["path"] == "/echo"
    assert json.loads(sent["arguments"]) == {}


@pytest.mark.parametrize(
    "arguments",
    [
        '{"city": 7}',
        '{"q": 100000000000000000000}',
        '{"q":1,  "city" : null}',
        '{"city":[{"a":1.50}]}',
    ],
)
def test_wrong_arguments_are_sent_back_as_they_came(run_call: RunCall, arguments: str) -> None:
    step, sent = run_call("weather", arguments)
    assert step["error"] == "bad_arguments"
    assert step["input"] == arguments
    assert sent["arguments"] == arguments


@pytest.mark.parametrize("arguments", ["nonsense", '{"city": ', "[1]", '"x"', "7", '{"q": NaN}'])
def test_arguments_that_providers_refuse_are_sent_back_as_an_empty_object(
    run_call: RunCall, arguments: str
) -> None:
    step, sent = run_call("weather", arguments)
    assert step["error"] == "bad_arguments"
    assert step["input"] == arguments
    assert sent["arguments"] == "{}"


def test_arguments_sent_as_an_object_keep_their_numbers(run_call: RunCall) -> None:
    step, sent = run_call("weather", {"q": 10**20})
    assert step["error"] == "bad_arguments"
    assert "100000000000000000000" in step["output"]
    assert json.loads(sent["arguments"]) == {"q": 10**20}
    step, sent = run_call("weather", {"q": 2**64 - 1})
    assert json.loads(step["output"])["path"] == f"/echo?q={2**64 - 1}"
    assert json.loads(sent["arguments"]) == {"q": 2**64 - 1}
