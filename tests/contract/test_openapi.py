"""The committed OpenAPI document: it matches the code, is complete, and the server conforms to it."""

import json
import re
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from drf_spectacular.validation import validate_schema
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from executions.models import Conversation, Execution
from executions.stop_reasons import StopReason
from map_project.api.schema import document as generated
from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from tests.contract.document import COMMITTED, document
from tests.contract.writes import Rows
from tests.factories import (
    AgentFactory,
    ApprovalFactory,
    DeliveryFactory,
    ExecutionFactory,
    TenantFactory,
    ToolFactory,
    WebhookFactory,
)
from tests.integration.test_isolation import TABLE, V1_TABLE
from tests.integration.test_scopes import SCOPES, V1_SCOPES
from tools.models import Tool

OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, methods in document()["paths"].items()
    for method, operation in methods.items()
}
API = {name: operation for name, operation in OPERATIONS.items() if "/api/v1/" in name}
V1 = {name: operation for name, operation in OPERATIONS.items() if " /v1/" in name}
# The error statuses of every operation of the API.
COMMON_STATUSES = {"400", "401", "403", "413", "500", "503"}
COMMON_CODES = {
    *("MISSING_API_KEY", "INVALID_API_KEY", "INSUFFICIENT_SCOPE"),
    *("BAD_REQUEST", "REQUEST_TOO_LARGE"),
}
LIMITED = ("/run", "/tools/{id}/test", "/tools/import", "/tools/{id}/refresh")
CODES = {
    "VALIDATION_ERROR",
    "MALFORMED_JSON",
    "INVALID_PAGINATION",
    "DUPLICATE_TOOL_NAME",
    "DUPLICATE_AGENT_NAME",
    "TOOL_IN_USE",
    "TOOL_NOT_CALLABLE",
    "TOOL_NOT_REFRESHABLE",
    "TOOL_SERVER_ERROR",
    "INVALID_MODEL",
    "MODEL_ERROR",
    "MODEL_TIMEOUT",
    "OUTPUT_INVALID",
    "PROMPT_TOO_LONG",
    "QUEUE_FULL",
    "BUDGET_EXCEEDED",
    "RUN_INTERRUPTED",
    "CONCURRENCY_LIMIT_EXCEEDED",
    "IDEMPOTENCY_IN_PROGRESS",
    "IDEMPOTENCY_KEY_REUSED",
    "WEBHOOK_NOT_FOUND",
    "KEY_NOT_FOUND",
    "KEY_NOT_VALID",
    "DELIVERY_NOT_FOUND",
    "MISSING_API_KEY",
    "INVALID_API_KEY",
    "TENANT_ISOLATION_VIOLATION",
    "CROSS_TENANT_TOOL",
    "INSUFFICIENT_SCOPE",
    "TOOL_NOT_FOUND",
    "AGENT_NOT_FOUND",
    "EXECUTION_NOT_FOUND",
    "APPROVAL_NOT_FOUND",
    "APPROVAL_DECIDED",
    "APPROVAL_EXPIRED",
    "PREVIOUS_EXECUTION_NOT_FINISHED",
    "CONVERSATION_NOT_FOUND",
    "CONVERSATION_BUSY",
    "CONTEXT_TOO_LONG",
    "BAD_REQUEST",
    "NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "REQUEST_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "RATE_LIMIT_EXCEEDED",
    "SERVICE_UNAVAILABLE",
    "INTERNAL_ERROR",
}


V1_RUNS = {"POST /v1/responses", "POST /v1/chat/completions"}
# Of the OpenAI-compatible API alone.
V1_CODES = {
    "APPROVAL_REQUIRED",
    "MODEL_NOT_FOUND",
    "RESPONSE_NOT_FOUND",
    "RUN_CANCELLED",
    "UNSUPPORTED_PARAMETER",
}


def json_of(container: dict[str, Any]) -> dict[str, Any]:
    content: dict[str, Any] = container["content"]["application/json"]
    return content


def codes_of(operation: dict[str, Any]) -> set[str]:
    """Return the error codes in the examples of an operation."""
    return {
        example["value"]["error_code"]
        for status, response in operation["responses"].items()
        if status >= "400" and "content" in response
        for example in json_of(response)["examples"].values()
        if "error_code" in example["value"]
    }


def v1_codes_of(operation: dict[str, Any]) -> set[str]:
    """Return the codes in the examples of an operation of the OpenAI-compatible API, in upper case."""
    return {
        example["value"]["error"]["code"].upper()
        for status, response in operation["responses"].items()
        if status >= "400"
        for example in json_of(response)["examples"].values()
    }


def is_valid(schema: dict[str, Any], value: Any) -> bool:
    root = {**schema, "components": document()["components"]}
    jsonschema_rs.Draft202012Validator(root, validate_formats=True).validate(value)
    return True


def test_it_matches_the_code() -> None:
    assert document() == generated(), "run make schema"


def test_it_is_valid_and_has_a_title_and_a_description() -> None:
    validate_schema(document())
    info = document()["info"]
    assert document()["openapi"] == "3.1.0"
    assert (info["title"], info["version"]) == ("Mini Agent Platform", "1.0.0")
    assert len(info["description"]) > 80


def test_it_has_every_route_of_the_api_and_the_service() -> None:
    api = {f"{method} /api/v1/{plain(route)}" for method, route in TABLE}
    v1 = {f"{method} /v1/{plain(route)}" for method, route in V1_TABLE}
    assert OPERATIONS.keys() == api | v1 | {"GET /health", "GET /live", "GET /ready"}


def plain(route: str) -> str:
    return re.sub("<(str|path):(.*?)>", r"{\2}", route).replace("{pk}", "{id}")


def method_and_route(name: str) -> tuple[str, str]:
    """Return the method and the route of an operation, as in the tables of routes."""
    (found,) = (
        row
        for prefix, table in (("/api/v1/", TABLE), ("/v1/", V1_TABLE))
        for row in table
        if f"{row[0]} {prefix}{plain(row[1])}" == name
    )
    return found


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_has_a_unique_summary(name: str) -> None:
    summary = OPERATIONS[name]["summary"]
    assert re.fullmatch("[A-Z][^.]{5,60}", summary)
    assert [other["summary"] for other in OPERATIONS.values()].count(summary) == 1
    assert OPERATIONS[name]["tags"]
    ids = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_parameter_and_response_has_a_description(name: str) -> None:
    operation = OPERATIONS[name]
    described = [operation, *operation.get("parameters", ()), *operation["responses"].values()]
    assert [part for part in described if not part.get("description")] == []


def test_every_field_has_a_description() -> None:
    missing = [
        f"{name}.{field}"
        for name, schema in document()["components"]["schemas"].items()
        for field, field_schema in schema.get("properties", {}).items()
        if not field_schema.get("description") and field != "items"
    ]
    assert missing == []


def bodies_of(name: str) -> list[dict[str, Any]]:
    """Return the request and response bodies. Failed health checks have no examples."""
    operation = OPERATIONS[name]
    is_api = name in API or name in V1
    responses = operation["responses"] if is_api else {"200": operation["responses"]["200"]}
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    return bodies + [response for response in responses.values() if "content" in response]


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_body_has_valid_examples(name: str) -> None:
    for body in bodies_of(name):
        assert body["content"].keys() <= {
            *("application/json", "text/event-stream", "text/csv", "application/x-ndjson")
        }
        for content in body["content"].values():
            examples = [example["value"] for example in content["examples"].values()]
            assert examples
            assert all(is_valid(content["schema"], example) for example in examples)


@pytest.mark.parametrize("name", API)
def test_every_operation_of_the_api_has_its_errors_and_requires_a_key(name: str) -> None:
    operation = API[name]
    scope = SCOPES[method_and_route(name)]
    assert operation["security"] == [{"ApiKey": [scope]}, {"Bearer": [scope]}]
    assert operation["description"].endswith(f"\n\nRequired scope: `{scope}`.")
    responses = operation["responses"].keys()
    assert responses >= COMMON_STATUSES
    codes = codes_of(operation)
    assert codes <= CODES
    assert codes >= COMMON_CODES
    assert ("415" in responses) == ("requestBody" in operation)
    assert ({"VALIDATION_ERROR", "MALFORMED_JSON"} <= codes) == ("requestBody" in operation)
    assert ("404" in responses) == ("{id}" in name)
    assert ("INVALID_PAGINATION" in codes) == (operation["operationId"].endswith("_list"))
    limited = name.endswith(LIMITED)
    assert ("RATE_LIMIT_EXCEEDED" in codes) == ("429" in responses) == limited


@pytest.mark.parametrize("name", V1)
def test_every_operation_of_v1_has_its_errors_and_requires_a_key(name: str) -> None:
    operation = V1[name]
    scope = V1_SCOPES[method_and_route(name)]
    assert operation["security"] == [{"ApiKey": [scope]}, {"Bearer": [scope]}]
    assert operation["description"].endswith(f"\n\nRequired scope: `{scope}`.")
    responses = operation["responses"].keys()
    assert responses >= COMMON_STATUSES
    codes = v1_codes_of(operation)
    assert codes <= CODES | V1_CODES
    assert codes >= COMMON_CODES
    has_body = "requestBody" in operation
    assert ("415" in responses) == has_body
    assert ({"VALIDATION_ERROR", "MALFORMED_JSON"} <= codes) == has_body
    is_run = name in V1_RUNS
    assert ("404" in responses) == ("{" in name or is_run)
    assert ("RATE_LIMIT_EXCEEDED" in codes) == ("429" in responses) == is_run
    for status, response in operation["responses"].items():
        if status >= "400":
            assert json_of(response)["schema"] == {"$ref": "#/components/schemas/OpenAIError"}


def test_it_contains_every_error_code() -> None:
    assert set(document()["components"]["schemas"]["ErrorCode"]["enum"]) == CODES | V1_CODES
    assert set().union(*map(v1_codes_of, V1.values())) >= V1_CODES
    in_examples = set().union(*map(codes_of, API.values()))
    assert in_examples == CODES - {"NOT_FOUND", "METHOD_NOT_ALLOWED"}


def component(reference: dict[str, Any]) -> Any:
    return document()["components"]["schemas"][reference["$ref"].rsplit("/", 1)[1]]


def test_bodies_allow_no_other_fields() -> None:
    for operation in API.values():
        if "requestBody" in operation:
            schema = component(json_of(operation["requestBody"])["schema"])
            for each in map(component, schema["oneOf"]) if "oneOf" in schema else [schema]:
                assert each["additionalProperties"] is False


def test_rate_limit_headers_are_documented() -> None:
    limited = [
        operation
        for name, operation in OPERATIONS.items()
        if name.endswith(LIMITED) or name in V1_RUNS
    ]
    assert len(limited) == 6
    for operation in limited:
        for status in {"200", "400", "403", "404", "415", "429"} & operation["responses"].keys():
            assert set(operation["responses"][status]["headers"]) >= {
                "X-RateLimit-Limit",
                "X-RateLimit-Remaining",
                "X-RateLimit-Reset",
                "RateLimit-Policy",
                "RateLimit",
            }
        assert "Retry-After" in operation["responses"]["429"]["headers"]


def test_the_committed_file_contains_no_local_address() -> None:
    text = COMMITTED.read_text()
    assert json.loads(text) == document()
    assert "127.0.0.1" not in text
    assert "localhost" not in text


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FRAMING_HEADERS = {"transfer-encoding", "content-length"}
schema = schemathesis.openapi.from_dict(document())


def ids_of(tenant: Tenant) -> dict[str, str]:
    """Create a row of each kind. Return their ids by the part of the path that ends with the parameter."""
    agent = AgentFactory.create(tenant=tenant, with_tools=2)
    webhook = WebhookFactory.create(tenant=tenant)
    execution = ExecutionFactory.create(agent=agent)
    rows = {
        "tools/{id}": ToolFactory.create(tenant=tenant),
        "agents/{id}": agent,
        "history/{id}": execution,
        "approvals/{id}": ApprovalFactory.create(execution=execution),
        "conversations/{id}": Conversation.objects.create(tenant=tenant),
        "keys/{id}": issue_key(tenant=tenant, scopes=["read", "keys"])[0],
        "webhooks/{id}": webhook,
        "webhooks/{id}/deliveries/{delivery_pk}": DeliveryFactory.create(endpoint=webhook),
    }
    return {path: str(row.pk) for path, row in rows.items()}


def parameters_of(name: str) -> dict[str, str]:
    """Return the parameters in the path of an operation, each with the part of the path that it ends."""
    path = name.split(" /api/v1/")[1]
    return {match[1]: path[: match.end()] for match in re.finditer("{(.*?)}", path)}


def test_there_are_rows_for_all_paths(tenant: Tenant) -> None:
    parts = {part for name in API for part in parameters_of(name).values()}
    missing = parts - ids_of(tenant).keys()
    assert not missing, "ids_of() above has to create rows for these paths"


# Hypothesis also warns if a thread of the connection pool uses `random` at the same time.
@pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")
@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=str)
@pytest.mark.parametrize("name", API)
def test_responses_to_generated_requests_conform_to_the_document(
    own_rows: Rows, live_port: int, name: str, mode: GenerationMode
) -> None:
    method, path = name.split(" ")
    tenants = (own_rows.tenant, TenantFactory.create())
    known = [ids_of(tenant) for tenant in tenants for _ in range(3)]
    checks = CHECKS if mode is GenerationMode.POSITIVE else [*CHECKS, negative_data_rejection]

    @given(data=st.data())
    @settings(
        max_examples=30,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    def fuzz(data: st.DataObject) -> None:
        case = data.draw(schema[path][method].as_strategy(generation_mode=mode))
        # gunicorn reads these headers. The document cannot contain its response to invalid ones.
        assume(not FRAMING_HEADERS & {header.lower() for header in case.headers or ()})
        # Surrounding whitespace does not count in the length of a name. JSON Schema cannot express that.
        sent_name = case.body.get("name") if isinstance(case.body, dict) else None
        assume(not (isinstance(sent_name, str) and len(sent_name.strip()) <= 100 < len(sent_name)))
        ids = data.draw(st.sampled_from(known))
        for parameter, part in parameters_of(name).items():
            if data.draw(st.booleans()):
                case.path_parameters[parameter] = ids[part]
        headers = {"X-API-KEY": own_rows.api.key}
        response = case.call(base_url=f"http://127.0.0.1:{live_port}", headers=headers)
        case.validate_response(response, checks=checks)

    fuzz()


def test_schemas_have_plain_names_and_types() -> None:
    schemas = document()["components"]["schemas"]
    for name in schemas:
        assert not re.match("Patched|Paginated", name), name
        assert not re.search("Request$|Serializer|Enum$", name), name
    for name in ("Tool", "ToolInput", "ToolPatch"):
        kinds = json.dumps(schemas[name]["properties"]["http"])
        assert re.search('#/components/schemas/HttpConfig(Input)?"', kinds)
    assert set(schemas["ToolKind"]["enum"]) == set(Tool.Kind.values)
    assert set(schemas["ExecutionStatus"]["enum"]) == set(Execution.Status.values)
    assert set(schemas["StopReason"]["enum"]) == {reason.value for reason in StopReason}


def test_tags_have_a_text_and_an_order() -> None:
    tags = [tag["name"] for tag in document()["tags"]]
    assert tags.index("tools") < tags.index("agents") < tags.index("history")
    assert all(tag["description"] for tag in document()["tags"])
    assert {tag for operation in OPERATIONS.values() for tag in operation["tags"]} == set(tags)
