"""`/metrics`: its names and values, and counters that never go back, whichever process returns them."""

import http.client
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from django.conf import settings
from django.db import OperationalError, connection
from django_redis import get_redis_connection
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from executions.events import open_streams
from executions.jobs import leases
from executions.jobs.recovery import recover_lost_runs
from executions.models import Execution
from map_project.metrics.wsgi import metrics
from map_project.tenants.models import Tenant
from map_project.usage.folding import fold_usage
from map_project.usage.models import EndedRun, Increment
from map_project.webhooks.delivery import deliver
from ratelimit import denials
from tests.api import LiveApi
from tests.conftest import api_of
from tests.factories import AgentFactory, DeliveryFactory, ExecutionFactory, TenantFactory
from tests.live import free_port, serving

NAMES = {
    "map_build_info": "gauge",
    "map_cost_usd": "counter",
    "map_execution_duration_seconds": "histogram",
    "map_executions": "counter",
    "map_leases_expired": "counter",
    "map_queue_depth": "gauge",
    "map_queue_oldest_age_seconds": "gauge",
    "map_queue_running": "gauge",
    "map_queue_workers": "gauge",
    "map_ratelimit_denied": "counter",
    "map_streams_open": "gauge",
    "map_tokens": "counter",
    "map_tool_calls": "counter",
    "map_webhook_deliveries": "counter",
}


def scraped(path: str = "/metrics") -> tuple[str, str]:
    """Return the status and the body of a response of this process."""
    statuses: list[str] = []
    environ: dict[str, Any] = {"PATH_INFO": path, "REQUEST_METHOD": "GET"}

    def start(status: str, headers: Any, *_: Any) -> Any:
        statuses.append(status)

    body = b"".join(metrics(environ, start))
    return statuses[0], body.decode()


def families(text: str) -> list[Metric]:
    return [*text_string_to_metric_families(text)]


Series = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]


def series(found: Iterable[Metric], types: set[str]) -> Series:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in found
        if metric.type in types
        for sample in metric.samples
    }


def value(name: str, **labels: str) -> float:
    """Return the value of a sample after all has been folded. Servers of other tests fold as well."""
    while EndedRun.objects.exists() or Increment.objects.exists():
        fold_usage()
    found = series(families(scraped()[1]), {"counter", "gauge", "histogram"})
    return found.get((name, tuple(sorted(labels.items()))), 0)


def test_the_names_and_types() -> None:
    status, text = scraped()
    assert status == "200 OK"
    assert {metric.name: metric.type for metric in families(text)} == NAMES


def test_the_text_follows_the_conventions_of_prometheus(tenant: Tenant) -> None:
    """What `promtool check metrics` reports."""
    for status in Execution.Status.values:
        ExecutionFactory.create(agent__tenant=tenant, status=status, input_tokens=1)
    fold_usage()
    text = scraped()[1]
    assert text.endswith("\n")
    for metric in families(text):
        assert metric.documentation, metric.name
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", metric.name)
        # Base units, in plural, and no types in names.
        assert not re.search(
            r"_(ms|milliseconds|minutes|hours|kb|mb|percent|counter|gauge|histogram)(_|$)",
            metric.name,
        )
        suffixes = {sample.name.removeprefix(metric.name) for sample in metric.samples}
        allowed = {"counter": {"_total"}, "gauge": {""}, "histogram": {"_bucket", "_sum", "_count"}}
        assert suffixes <= allowed[metric.type], metric.name
        assert metric.type == "counter" or not metric.name.endswith(("_total", "_count", "_sum"))
        # No labels that grow with tenants, agents or keys.
        labels = {label for sample in metric.samples for label in sample.labels}
        assert labels <= {
            "status",
            "provider",
            "direction",
            "model",
            "outcome",
            "reason",
            "le",
            "version",
        }
    lines = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(lines) == len(set(lines))
    assert text.count("# HELP") == text.count("# TYPE") == len(NAMES)


def test_the_buckets_of_the_histogram_are_cumulative(tenant: Tenant) -> None:
    def histogram() -> dict[str, float]:
        found = series(families(scraped()[1]), {"histogram"})
        return {
            dict(labels).get("le", name.rpartition("_")[2]): count
            for (name, labels), count in found.items()
            if dict(labels)["provider"] == "buckets"
        }

    for latency_ms in (0, 10, 11, 3_600_000, 3_600_001):
        ExecutionFactory.create(agent__tenant=tenant, provider="buckets", latency_ms=latency_ms)
    value("map_executions_total")
    found = histogram()
    assert [found[bound] for bound in ("0.01", "0.05", "600.0", "3600.0", "+Inf")] == [
        2,
        3,
        3,
        4,
        5,
    ]
    assert found["count"] == 5
    assert found["sum"] == pytest.approx(7_200.022)


def test_runs_tokens_cost_and_tool_calls(tenant: Tenant) -> None:
    columns = {"model": "counted-here", "provider": "counted-here"}
    tokens = {"input_tokens": 11, "output_tokens": 7, "cost_usd": "0.000000001"}
    before = value("map_cost_usd_total")
    ExecutionFactory.create_batch(2, agent__tenant=tenant, **columns, **tokens)
    ExecutionFactory.create(agent__tenant=tenant, **columns, status="failed")
    ExecutionFactory.create(agent__tenant=tenant, **columns, status="running")
    provider = "counted-here"
    assert value("map_executions_total", status="succeeded", provider=provider) == 2
    assert value("map_executions_total", status="failed", provider=provider) == 1
    assert value("map_executions_total", status="running", provider=provider) == 0
    assert value("map_tokens_total", direction="input", model="counted-here") == 22
    assert value("map_tokens_total", direction="output", model="counted-here") == 14
    assert value("map_cost_usd_total") - before == pytest.approx(2e-9, rel=0.1)


def test_expired_leases(tenant: Tenant) -> None:
    before = value("map_leases_expired_total")
    ExecutionFactory.create(
        agent__tenant=tenant, status="running", lease_expires_at="2026-01-01T00:00Z"
    )
    recover_lost_runs()
    assert value("map_leases_expired_total") >= before + 1


def test_deliveries_of_webhooks() -> None:
    before = value("map_webhook_deliveries_total", outcome="failed")
    deliver(DeliveryFactory.create(endpoint__is_active=False))
    assert value("map_webhook_deliveries_total", outcome="failed") >= before + 1


def test_refused_run_calls() -> None:
    denials.store_denials()
    before = value("map_ratelimit_denied_total", reason="quota")
    tenant = TenantFactory.create(rate_limit_requests=1)
    api, agent = api_of(tenant), AgentFactory.create(tenant=tenant)
    assert [api.run(agent.pk).status for _ in range(4)] == [200, 429, 429, 429]
    denials.store_denials()
    denials.store_denials()
    assert value("map_ratelimit_denied_total", reason="quota") == before + 3


def test_refused_run_calls_are_kept_while_the_database_is_unavailable() -> None:
    def fail(*_: Any) -> Any:
        raise OperationalError

    denials.store_denials()
    before = value("map_ratelimit_denied_total", reason="quota")
    denials.count("quota")
    with connection.execute_wrapper(fail), pytest.raises(OperationalError):
        denials.store_denials()
    denials.store_denials()
    assert value("map_ratelimit_denied_total", reason="quota") == before + 1


def test_open_streams_are_those_of_all_live_processes() -> None:
    redis = get_redis_connection("default")
    redis.delete(open_streams.KEY)
    now, _ = redis.time()
    redis.hset(
        open_streams.KEY, mapping={"a": f"3 {now}", "b": f"4 {now}", "ended": f"5 {now - 60}"}
    )
    open_streams.store_open_streams()
    assert open_streams.open_streams() == 7
    assert set(redis.hkeys(open_streams.KEY)) == {b"a", b"b", leases.owner().encode()}
    redis.delete(open_streams.KEY)


def test_the_queue(tenant: Tenant) -> None:
    depth = value("map_queue_depth")
    queued = ExecutionFactory.create(
        agent__tenant=tenant, status="queued", background=True, created_at="2026-01-01T00:00Z"
    )
    assert value("map_queue_depth") == depth + 1
    assert value("map_queue_oldest_age_seconds") > 3600
    queued.delete()


def test_only_the_metrics_are_served() -> None:
    assert [scraped(path)[0] for path in ("/", "/metrics/", "/api/v1/me")] == ["404 Not Found"] * 3


def test_without_the_database() -> None:
    def fail(*_: Any) -> Any:
        raise OperationalError

    with connection.execute_wrapper(fail):
        assert scraped() == ("503 Service Unavailable", "The database is unavailable.\n")


def test_the_dashboard_has_metrics_that_exist() -> None:
    folder = settings.BASE_DIR / "deploy" / "grafana" / "dashboards"
    dashboard = json.loads((folder / "platform.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used = set(re.findall(r"map_[a-z_]+", " ".join(expressions)))
    suffixes = {"counter": "_total", "gauge": "", "histogram": "_bucket"}
    assert used == {f"{name}{suffixes[kind]}" for name, kind in NAMES.items()} - {"map_build_info"}
    # Correct also if several servers are scraped.
    assert all(re.search(r"\bmax\b", expression) for expression in expressions)


# --- With servers


def scrape(port: int) -> list[Metric]:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    client.request("GET", "/metrics")
    response = client.getresponse()
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    text = response.read().decode()
    client.close()
    return families(text)


def test_counters_never_go_back_whichever_process_is_scraped() -> None:
    """Two servers with two processes each, under load, and executions are deleted in between."""
    tenant = TenantFactory.create(rate_limit_requests=1_000_000)
    agent, stop = AgentFactory.create(tenant=tenant), threading.Event()
    ports = free_port(), free_port()

    def run_repeatedly(port: int) -> None:
        api = LiveApi(port, key)
        while not stop.is_set():
            assert api.run(agent.pk).status == 200

    key = api_of(tenant).key
    with (
        serving(METRICS_PORT=str(ports[0])) as first,
        serving(METRICS_PORT=str(ports[1])) as second,
    ):
        threads = [
            threading.Thread(target=run_repeatedly, args=(port,)) for port in (first, second)
        ]
        for thread in threads:
            thread.start()
        last: Series = {}
        begin: Series = {}
        for number in range(24):
            time.sleep(0.5)
            if number % 4 == 3:
                Execution.objects.filter(tenant=tenant).delete()
            found = series(scrape(ports[number % 2]), {"counter", "histogram"})
            begin = begin or found
            assert {name for name, count in last.items() if found[name] < count} == set()
            last = found
        stop.set()
        for thread in threads:
            thread.join(30)
    assert last != begin


def test_the_port_serves_the_metrics_alone(live_port: int) -> None:
    assert LiveApi(live_port).get("/metrics").status == 404
    metrics_port = free_port()
    with serving(METRICS_PORT=str(metrics_port)) as port:
        assert LiveApi(metrics_port).get("/metrics", headers={"Host": f"x:{port}"}).status == 200
        assert LiveApi(metrics_port).get("/live", headers={"Host": f"x:{port}"}).status == 404
        spoofed = {"Host": f"localhost:{metrics_port}"}
        assert LiveApi(port).get("/metrics", headers=spoofed).status == 404


def test_a_port_that_is_in_use_is_reported(live_port: int) -> None:
    for port, message in (
        (
            str(live_port),
            f"Port {live_port} of 127.0.0.1 is in use by another program: .*METRICS_PORT=",
        ),
        ("8000", "METRICS_PORT must differ from PORT"),
    ):
        result = subprocess.run(
            [sys.executable, "-m", "map_project.server"],
            cwd=settings.BASE_DIR,
            env=_environment(port),
            capture_output=True,
            text=True,
        )
        assert result.returncode == 1
        assert re.match(message, result.stderr), result.stderr


def _environment(metrics_port: str) -> dict[str, str]:
    return {
        "PATH": "",
        "HOST": "127.0.0.1",
        "PORT": str(free_port()) if metrics_port != "8000" else "8000",
        "METRICS_PORT": metrics_port,
        "SECRET_KEY": "x" * 50,
        "DATABASE_URL": settings.DATABASE_URL,
        "REDIS_URL": settings.REDIS_URL,
    }
