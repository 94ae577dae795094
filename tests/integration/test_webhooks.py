"""Webhooks: the API, and deliveries to a real receiver."""

import ipaddress
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from typing import Any

import openai
import pytest
from django.db.models.functions import Now
from standardwebhooks import Webhook

from agents.models import Agent, LanguageModel
from executions.endings import cancel
from executions.models import Execution
from executions.stop_reasons import StopReason
from map_project.api import secrets
from map_project.tenants.models import Tenant
from map_project.webhooks.delivery import DELAYS_SECONDS, claim_due, deliver
from map_project.webhooks.models import WebhookDelivery, WebhookEndpoint
from tests.api import Api
from tests.factories import AgentFactory, ExecutionFactory, WebhookFactory
from tests.hostile_urls import HOSTILE, resolve_names
from tests.http_server import http_server
from tests.live import working
from tests.stub_model import StubModel, StubResponse

URL = "https://example.com/hook"


@dataclass
class Receiver:
    """An endpoint that stores requests. `responses` are statuses and headers, the last one repeated."""

    url: str
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    responses: list[tuple[int, dict[str, str]]] = field(default_factory=lambda: [(204, {})])


@contextmanager
def receiving() -> Iterator[Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.requests.append(({k.lower(): v for k, v in self.headers.items()}, body))
            number = min(len(received.requests), len(received.responses)) - 1
            status, headers = received.responses[number]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http_server(Handler) as port:
        received = Receiver(f"http://127.0.0.1:{port}/hook?a=b")
        yield received


@pytest.fixture
def receiver(settings: Any) -> Iterator[Receiver]:
    settings.TOOL_ALLOWED_NETWORKS = (ipaddress.ip_network("127.0.0.1/32"),)
    with receiving() as found:
        yield found


@pytest.fixture
def endpoint(tenant: Tenant, receiver: Receiver) -> WebhookEndpoint:
    return WebhookFactory.create(tenant=tenant, url=receiver.url)


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def only(endpoint: WebhookEndpoint) -> WebhookDelivery:
    return WebhookDelivery.objects.get(endpoint=endpoint)


def attempt(endpoint: WebhookEndpoint) -> WebhookDelivery:
    """Make the next attempt of the only delivery now."""
    WebhookDelivery.objects.filter(endpoint=endpoint).update(next_attempt_at=Now())
    deliver(only(endpoint))
    return only(endpoint)


def test_a_webhook_is_created_read_changed_and_deleted(api: Api) -> None:
    created = api.post("webhooks", {"url": URL, "event_types": ["execution.failed"]})
    assert created.status == 201
    secret = created.json["secret"]
    assert secret.startswith("whsec_")
    path = f"webhooks/{created.json['id']}"
    read = api.get(path)
    assert read.json == {k: v for k, v in created.json.items() if k != "secret"}
    assert list(read.json) == ["id", "url", "event_types", "is_active", "created_at"]
    changed = api.patch(path, {"is_active": False, "event_types": ["*", "*"]})
    assert (changed.json["is_active"], changed.json["event_types"]) == (False, ["*"])
    rotated = api.post(f"{path}/rotate-secret")
    assert rotated.status == 200
    assert rotated.json["secret"] not in {secret, ""}
    assert secret.encode() not in api.get("webhooks").content
    assert api.delete(path).status == 204
    assert api.get(path).error_code == "WEBHOOK_NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"event_types": ["*"]}, "url"),
        ({"url": "ftp://example.com", "event_types": ["*"]}, "url"),
        ({"url": "https://user:pw@example.com", "event_types": ["*"]}, "url"),
        ({"url": "https://example.com/{x}", "event_types": ["*"]}, "url"),
        ({"url": f"https://example.com/{'x' * 2_000}", "event_types": ["*"]}, "url"),
        ({"url": URL}, "event_types"),
        ({"url": URL, "event_types": []}, "event_types"),
        ({"url": URL, "event_types": "*"}, "event_types"),
        ({"url": URL, "event_types": ["nothing"]}, "event_types"),
        ({"url": URL, "event_types": [1]}, "event_types"),
        ({"url": URL, "event_types": ["*"], "secret": "x"}, "secret"),
        ({"url": URL, "event_types": ["*"], "is_active": "yes"}, "is_active"),
    ],
)
def test_a_wrong_webhook_is_refused(api: Api, body: dict[str, Any], field: str) -> None:
    assert set(api.post("webhooks", body).fields) == {field}


def test_a_tenant_has_at_most_20(api: Api, tenant: Tenant) -> None:
    WebhookFactory.create_batch(20, tenant=tenant)
    assert "at most 20" in api.post("webhooks", {"url": URL, "event_types": ["*"]}).fields["url"][0]


def test_each_end_of_a_run_is_an_event(
    api: Api, agent: Agent, tenant: Tenant, other_tenant: Tenant, model_server: StubModel
) -> None:
    """A local run, a failed one, a cancelled one; and endpoints that do not receive them."""
    model_server.says(StubResponse(500))
    row = LanguageModel.objects.create(
        name="broken", provider="openai", base_url=model_server.url, max_retries=0
    )
    every = WebhookFactory.create(tenant=tenant)
    failures = WebhookFactory.create(tenant=tenant, event_types=["execution.failed"])
    WebhookFactory.create(tenant=tenant, is_active=False)
    WebhookFactory.create(tenant=other_tenant)
    api.run(agent.pk)
    api.run(agent.pk, model="broken")
    row.delete()
    queued = ExecutionFactory.create(agent=agent, status="queued", background=True)
    cancel(queued.pk, StopReason.CANCELLED_BY_CALLER)
    deliveries = WebhookDelivery.objects.filter(tenant=tenant)
    assert {(each.endpoint_id, each.event_type) for each in deliveries} == {
        (every.pk, "execution.succeeded"),
        (every.pk, "execution.failed"),
        (every.pk, "execution.cancelled"),
        (failures.pk, "execution.failed"),
    }
    ids = set(Execution.objects.filter(tenant=tenant).values_list("pk", flat=True))
    assert {each.execution_id for each in deliveries} == ids


def test_a_delivery_is_signed(
    api: Api, agent: Agent, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    execution_id = api.run(agent.pk).json["execution_id"]
    delivery = attempt(endpoint)
    ((headers, body),) = receiver.requests
    assert headers["webhook-id"] == str(delivery.pk)
    secret = secrets.decrypt(endpoint.secret_token)
    payload = Webhook(secret).verify(body, headers)
    assert payload["type"] == "execution.succeeded"
    assert payload["data"] == {"id": execution_id, "status": "succeeded"}
    assert payload["timestamp"] == api.get(f"history/{execution_id}").json["finished_at"]
    client = openai.OpenAI(api_key="x", webhook_secret=secret)
    event: Any = client.webhooks.unwrap(body, headers)
    assert event.data.id == execution_id
    assert (delivery.status, delivery.attempts, delivery.response_status) == ("succeeded", 1, 204)
    (item,) = api.get(f"webhooks/{endpoint.pk}/deliveries").json["items"]
    assert (item["status"], item["error"], item["next_attempt_at"]) == ("succeeded", None, None)
    assert item["execution_id"] == execution_id


def test_both_secrets_sign_after_a_rotation(
    api: Api, agent: Agent, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    old = secrets.decrypt(endpoint.secret_token)
    new = api.post(f"webhooks/{endpoint.pk}/rotate-secret").json["secret"]
    api.run(agent.pk)
    attempt(endpoint)
    rows = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    rows.update(previous_secret_expires_at=Now() - timedelta(seconds=1))
    WebhookDelivery.objects.filter(endpoint=endpoint).update(status="pending")
    attempt(endpoint)
    (first, body), (second, _) = receiver.requests
    for secret in (old, new):
        Webhook(secret).verify(body, first)
    Webhook(new).verify(body, second)
    assert len(second["webhook-signature"].split()) == 1


def test_a_delivery_is_repeated_for_three_days(
    api: Api, agent: Agent, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    assert 2.5 * 86_400 < sum(DELAYS_SECONDS) < 3.5 * 86_400
    receiver.responses = [(500, {})]
    api.run(agent.pk)
    for number, delay_seconds in enumerate(DELAYS_SECONDS, 1):
        delivery = attempt(endpoint)
        assert (delivery.status, delivery.attempts, delivery.error) == (
            "pending",
            number,
            "http_500",
        )
        wait = delivery.next_attempt_at - delivery.created_at  # type: ignore[operator]
        assert delay_seconds - 5 < wait.total_seconds() < 1.1 * delay_seconds + 60
    assert attempt(endpoint).status == "failed"
    assert {headers["webhook-id"] for headers, _ in receiver.requests} == {str(delivery.pk)}
    assert len({body for _, body in receiver.requests}) == 1
    receiver.responses = [(200, {})]
    retried = api.post(f"webhooks/{endpoint.pk}/deliveries/{delivery.pk}/retry")
    assert (retried.status, retried.json["status"], retried.json["attempts"]) == (202, "pending", 0)
    assert attempt(endpoint).status == "succeeded"
    assert WebhookEndpoint.objects.get(pk=endpoint.pk).failing_since is None


def test_retry_after_is_respected(
    api: Api, agent: Agent, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    receiver.responses = [(429, {"Retry-After": "1000"})]
    api.run(agent.pk)
    delivery = attempt(endpoint)
    wait = delivery.next_attempt_at - delivery.created_at  # type: ignore[operator]
    assert 1_000 <= wait.total_seconds() < 1_060


@pytest.mark.parametrize("status", [301, 302, 404, 500])
def test_other_statuses_are_failures(
    api: Api, agent: Agent, endpoint: WebhookEndpoint, receiver: Receiver, status: int
) -> None:
    receiver.responses = [(status, {"Location": receiver.url})]
    api.run(agent.pk)
    assert (attempt(endpoint).error, len(receiver.requests)) == (f"http_{status}", 1)


def test_410_deactivates_the_endpoint(
    api: Api, agent: Agent, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    receiver.responses = [(410, {})]
    api.run(agent.pk)
    attempt(endpoint)
    assert api.get(f"webhooks/{endpoint.pk}").json["is_active"] is False
    assert attempt(endpoint).error == "disabled"
    assert len(receiver.requests) == 1
    api.run(agent.pk)
    assert WebhookDelivery.objects.filter(endpoint=endpoint).count() == 1


def test_three_days_of_failures_deactivate_the_endpoint(
    api: Api, agent: Agent, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    receiver.responses = [(500, {})]
    rows = WebhookEndpoint.objects.filter(pk=endpoint.pk)
    rows.update(failing_since=Now() - timedelta(days=3, minutes=1))
    api.run(agent.pk)
    attempt(endpoint)
    assert not rows.get().is_active
    assert rows.get().disabled_reason
    api.patch(f"webhooks/{endpoint.pk}", {"is_active": True})
    assert (rows.get().failing_since, rows.get().disabled_reason) == (None, "")


@pytest.mark.parametrize("url", HOSTILE)
def test_hostile_urls_are_not_reached(
    api: Api, tenant: Tenant, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No URL in the table of the address guard can be saved, or leads to a connection."""
    created = api.post("webhooks", {"url": url.replace("PORT", "8000"), "event_types": ["*"]})
    if created.status == 400:
        assert list(created.json["details"]["fields"]) == ["url"]
        return
    assert api.post(f"webhooks/{created.json['id']}/test").status == 202
    reached: list[object] = []
    resolve_names(monkeypatch)
    monkeypatch.setattr(socket.socket, "connect", lambda _, address: reached.append(address))
    delivery = attempt(WebhookEndpoint.objects.get(tenant=tenant))
    assert (delivery.error, delivery.response_status) in {("refused", None), ("unreachable", None)}
    assert reached == []


@pytest.mark.parametrize("url", ["http://a b/", "http://a..b/", "file:///x"])
def test_a_stored_url_that_is_not_valid_is_a_failed_attempt(
    api: Api, tenant: Tenant, url: str
) -> None:
    """A row that was written by other means, or by a version with other rules."""
    endpoint = WebhookFactory.create(tenant=tenant, url=url)
    assert api.post(f"webhooks/{endpoint.pk}/test").status == 202
    delivery = attempt(endpoint)
    assert (delivery.status, delivery.attempts, delivery.error) == ("failed", 1, "bad_request")


def test_a_delivery_has_one_worker_at_a_time(
    api: Api, agent: Agent, endpoint: WebhookEndpoint
) -> None:
    api.run(agent.pk)
    delivery = only(endpoint)
    claimed = [each.pk for _ in range(2) for each in claim_due(100_000)]
    assert claimed.count(delivery.pk) == 1
    WebhookDelivery.objects.filter(pk=delivery.pk).update(next_attempt_at=Now())
    assert delivery.pk in [each.pk for each in claim_due(100_000)]
    WebhookDelivery.objects.filter(pk__in=claimed).update(status="failed")


@pytest.mark.slow
def test_a_worker_delivers(
    api: Api, agent: Agent, endpoint: WebhookEndpoint, receiver: Receiver
) -> None:
    answer = api.post(
        f"agents/{agent.pk}/run", {"prompt": "x", "model": "gpt-4o", "background": True}
    )
    tested = api.post(f"webhooks/{endpoint.pk}/test")
    assert (tested.status, tested.json["event_type"]) == (202, "webhook.test")
    with working(TOOL_ALLOWED_NETWORKS="127.0.0.1/32"):
        wait_for(lambda: len(receiver.requests) == 2)
    found = {json.loads(body)["type"]: json.loads(body)["data"] for _, body in receiver.requests}
    assert found["webhook.test"] == {}
    assert found["execution.succeeded"]["id"] == answer.json["execution_id"]
