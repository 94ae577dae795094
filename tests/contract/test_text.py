"""Rules for text in all fields of all bodies, and in queries."""

import json
from typing import Any
from urllib.parse import quote_plus

import pytest

from map_project.tenants.models import Tenant
from tests.api import Api
from tests.contract.writes import AGENT, TEXTS, TOOL, WRITES, Rows, Write
from tests.factories import AgentFactory

KEPT = {
    "blanks around it": "  two blanks before, a line break after \n",
    "all line breaks": "a\nb\r\nc\rd\x0be\x0cf\x85g\u2028h\u2029i",
    "control characters": "\x01\x02\x1b[31m\x7f\x9f",
    "decomposed": "e\u0301",
    "composed": "\u00e9",
    "four bytes": "\U0001f600 \U0010fffd",
    "joined": "\U0001f469\u200d\U0001f52c",
    "right to left": "\u202e\u05d0\u05d1 abc",
    "a byte order mark": "\ufeffx",
    "noncharacters": "\ufffe\uffff\U0010ffff",
    "markup": "<script>alert('x')</script> &amp; \"quoted\" \\ / %00 %s {0} $1",
    "SQL": "'; DROP TABLE agents_agent; --",
    "a replacement character": "\ufffd",
}
WRONG_TYPES: dict[str, Any] = {
    "zero": 0,
    "a number": 7,
    "a fraction": 1.5,
    "a huge number": 10**30,
    "true": True,
    "false": False,
    "null": None,
    "a list": ["text"],
    "an object": {"text": "text"},
}
BLANK = {
    "empty": "",
    "a blank": " ",
    "line breaks": "\r\n\t\x0b\x0c",
    "wide blanks": "\u00a0\u2003\u3000\u2028",
}


@pytest.mark.parametrize("text", KEPT.values(), ids=KEPT)
def test_descriptions_roles_and_prompts_are_kept_byte_for_byte(
    api: Api, tenant: Tenant, text: str
) -> None:
    tool = api.post("tools", {**TOOL, "description": text})
    agent = api.post(
        "agents", {**AGENT, "role": text, "description": text, "tool_ids": [tool.json["id"]]}
    )
    run = api.run(agent.json["id"], prompt=text)
    assert (tool.status, agent.status, run.status) == (201, 201, 200)
    assert tool.json["description"] == text
    assert (agent.json["role"], agent.json["description"]) == (text, text)
    assert run.json["prompt"] == text
    assert text in run.json["response"]
    assert api.get(f"tools/{tool.json['id']}").json == tool.json
    assert api.get(f"agents/{agent.json['id']}").json == agent.json
    assert agent.json["tools"][0]["description"] == text
    assert api.get("history").json["items"][0]["prompt"] == text


@pytest.mark.parametrize("text", [text for text in KEPT.values() if text == text.strip()])
def test_a_name_may_be_any_text(api: Api, text: str) -> None:
    tool = api.post("tools", {**TOOL, "name": text})
    agent = api.post("agents", {**AGENT, "name": text, "tool_ids": [tool.json["id"]]})
    assert (tool.json["name"], agent.json["name"]) == (text, text)
    assert api.run(agent.json["id"]).json["tools_available"] == [text]


@pytest.mark.parametrize("around", [" ", "\t", "\r\n", "\u00a0", "\u3000 \u2003", " " * 5000])
@pytest.mark.parametrize("write", [write for write in WRITES if "name" in write.body], ids=str)
def test_names_are_trimmed_and_then_measured(own_rows: Rows, write: Write, around: str) -> None:
    name = "in  side " * 11 + "x"
    assert len(name) == 100
    body = {**write.body, "name": f"{around}{name}{around}"}
    assert own_rows.send(write, body).json["name"] == name


@pytest.mark.parametrize("name", [TOOL["name"], TOOL["name"].upper(), "WEB ", "wéb", "we\u0301b"])
def test_names_are_compared_by_code_point(api: Api, name: str) -> None:
    names = {"web", "Web", "WEB\u200b", "w\u00e9b", "we\u0301b"} - {name.strip()}
    for other in names:
        assert api.post("tools", {**TOOL, "name": other}).status == 201
        assert api.post("agents", {**AGENT, "name": other}).status == 201
    assert api.post("tools", {**TOOL, "name": name}).status == 201
    assert api.post("agents", {**AGENT, "name": name}).status == 201
    again = api.post("tools", {**TOOL, "name": f" {name} "})
    assert (again.error_code, again.details) == ("DUPLICATE_TOOL_NAME", {"name": name.strip()})


LENGTHS = {
    "name": 100,
    "role": 100,
    "description": 1000,
}


@pytest.mark.parametrize("character", ["a", "\u00e9", "\U0001f600"])
@pytest.mark.parametrize(
    ("write", "field"), [pair for pair in TEXTS if pair[1] in LENGTHS], ids=str
)
def test_texts_are_measured_in_code_points(
    own_rows: Rows, write: Write, field: str, character: str
) -> None:
    max_length = LENGTHS[field]
    before = own_rows.snapshot()
    over = own_rows.send(write, {**write.body, field: character * (max_length + 1)})
    assert over.fields == {field: [f"Ensure this field has no more than {max_length} characters."]}
    assert own_rows.snapshot() == before
    fits = own_rows.send(write, {**write.body, field: character * max_length})
    assert fits.json[field] == character * max_length


@pytest.mark.parametrize("value", WRONG_TYPES.values(), ids=WRONG_TYPES)
@pytest.mark.parametrize(("write", "field"), TEXTS, ids=str)
def test_a_text_must_be_a_json_string(rows: Rows, write: Write, field: str, value: Any) -> None:
    before = rows.snapshot()
    response = rows.send(write, {**write.body, field: value})
    message = "This field may not be null." if value is None else "Not a valid string."
    assert (response.status, response.fields) == (400, {field: [message]})
    assert rows.snapshot() == before


@pytest.mark.parametrize("text", BLANK.values(), ids=BLANK)
@pytest.mark.parametrize(
    ("write", "field"), [pair for pair in TEXTS if pair[1] != "model"], ids=str
)
def test_a_blank_text_is_rejected(rows: Rows, write: Write, field: str, text: str) -> None:
    before = rows.snapshot()
    response = rows.send(write, {**write.body, field: text})
    assert (response.status, response.fields) == (400, {field: ["This field may not be blank."]})
    assert rows.snapshot() == before


@pytest.mark.parametrize("text", ["\0", "a\0b", "\0" * 3])
@pytest.mark.parametrize(("write", "field"), TEXTS, ids=str)
def test_nul_is_rejected(rows: Rows, write: Write, field: str, text: str) -> None:
    before = rows.snapshot()
    response = rows.send(write, {**write.body, field: text})
    assert (response.status, response.fields) == (
        400,
        {field: ["Null characters are not allowed."]},
    )
    assert rows.snapshot() == before


SURROGATES = {
    "high": rb'"\ud800"',
    "low": rb'"a\udc00b"',
    "the wrong way round": rb'"\udc00\ud800"',
    "two high": rb'"\ud83d\ud83d"',
    "as bytes": b'"\xed\xa0\x80"',
}


@pytest.mark.parametrize("text", SURROGATES.values(), ids=SURROGATES)
@pytest.mark.parametrize(("write", "field"), TEXTS, ids=str)
def test_an_unpaired_surrogate_is_rejected(
    rows: Rows, write: Write, field: str, text: bytes
) -> None:
    before = rows.snapshot()
    raw = json.dumps({**write.body, field: "HERE"}).encode().replace(b'"HERE"', text)
    response = rows.send(write, raw=raw)
    assert (response.status, response.error_code) == (400, "MALFORMED_JSON")
    assert rows.snapshot() == before


def test_a_pair_of_surrogates_is_one_character(api: Api) -> None:
    raw = rb'{"name": "\ud83d\ude00", "description": "d"}'
    assert api.post("tools", raw=raw).json["name"] == "\U0001f600"


@pytest.mark.parametrize("write", WRITES, ids=str)
def test_each_unknown_field_is_reported(rows: Rows, write: Write) -> None:
    before = rows.snapshot()
    names = ["", "id", "tenant_id", "Name", "name ", "non_field_errors", "fields", "é\0", "tools"]
    response = rows.send(write, {**write.body, **dict.fromkeys(names, 1)})
    assert response.fields.keys() == set(names)
    for (message,) in response.fields.values():
        assert message.startswith("Unknown field.")
    assert rows.snapshot() == before


@pytest.mark.parametrize("write", WRITES, ids=str)
def test_all_invalid_fields_are_reported(rows: Rows, write: Write) -> None:
    before = rows.snapshot()
    wrong: dict[str, Any] = dict.fromkeys(write.text_fields, 7)
    response = rows.send(write, {**write.body, **wrong, "x": None, "y": None})
    assert response.fields == {
        **{name: ["Not a valid string."] for name in write.text_fields},
        **{name: ["Unknown field."] for name in ("x", "y")},
    }
    assert rows.snapshot() == before


@pytest.mark.parametrize("write", [write for write in WRITES if write.method != "PATCH"], ids=str)
def test_each_missing_field_is_reported(rows: Rows, write: Write) -> None:
    before = rows.snapshot()
    response = rows.send(write, {})
    assert response.fields == {name: ["This field is required."] for name in write.text_fields}
    assert rows.snapshot() == before


INVALID_QUERIES = {
    "an invalid byte": "%ff",
    "half a character": "%c3",
    "a surrogate": "%ed%a0%80",
    "overlong": "%c0%80",
    "NUL": "%00",
    "NUL within": "a%00b",
}


READS = ["tools", "agents", "history", "tools/{tool}", "agents/{agent}"]


@pytest.mark.parametrize("value", INVALID_QUERIES.values(), ids=INVALID_QUERIES)
@pytest.mark.parametrize("route", READS)
def test_an_invalid_query_is_rejected(rows: Rows, route: str, value: str) -> None:
    route = route.format(tool=rows.tool.pk, agent=rows.agent.pk)
    for query in (f"agent_name={value}", f"limit={value}", f"unknown={value}", f"{value}=1", value):
        response = rows.api.get(f"{route}?{query}")
        assert (response.status, response.error_code, response.details) == (
            400,
            "BAD_REQUEST",
            {},
        ), query


@pytest.mark.parametrize("write", WRITES, ids=str)
def test_an_invalid_query_is_rejected_with_a_body(rows: Rows, write: Write) -> None:
    before = rows.snapshot()
    response = rows.send(write, write.body, route=f"{write.route}?a=%ff")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert rows.snapshot() == before


def test_a_query_with_too_many_parameters_is_a_bad_request(api: Api) -> None:
    response = api.get(f"tools?{'a&' * 4000}")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")


@pytest.mark.parametrize("name", ["é ü", "a&b=c", "a+b", "100%", "\U0001f600", "日本"])
def test_filters_accept_any_text(api: Api, tenant: Tenant, name: str) -> None:
    agent = AgentFactory.create(tenant=tenant, name=name, with_tools=1)
    page = api.get(f"tools?agent_name={quote_plus(name)}").json
    assert [tool["id"] for tool in page["items"]] == [str(agent.tools.get().pk)]


def test_an_unknown_model_may_be_any_text_and_is_returned(rows: Rows) -> None:
    for model in ("", " ", " gpt-4o", "GPT-4O", "gpt-4o\n", "é", "x" * 5000):
        response = rows.api.run(rows.agent.pk, model=model)
        assert (response.status, response.error_code) == (400, "INVALID_MODEL")
        assert response.details["provided_model"] == model
