"""Checks that stop, kill and restart the services."""

import time
from typing import Any

from tests.compose.stack import IMAGE, SERVERS, Response, Stack, check, report, run, wait_for

AGENT = {"name": "Agent", "role": "tester", "description": "Is used by the checks."}
STOP_SECONDS = 30


class Client:
    """The client of a tenant with one agent."""

    def __init__(self, stack: Stack, key: str) -> None:
        self.stack, self.key = stack, key
        agent = self.call("POST", "/api/v1/agents", AGENT).expect(201, "an agent")
        self.run_path = f"/api/v1/agents/{agent['id']}/run"
        self.run().expect(200, "a run")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Response:
        return self.stack.call(method, path, body, key=self.key)

    def run(self) -> Response:
        return self.call("POST", self.run_path, {"prompt": "What is new?", "model": "gpt-4o"})

    def seconds_until_run(self) -> float:
        """Wait until a run succeeds. Return the seconds."""
        return wait_for("a run with 200", lambda: self.run().status == 200, seconds=60)[1]

    def counts(self) -> dict[str, int]:
        """Return the number of agents and of executions."""
        lists = ("agents", "history")
        return {
            name: self.call("GET", f"/api/v1/{name}").expect(200, name)["total"] for name in lists
        }


def verify_redis_outage(client: Client) -> None:
    """Check that only runs fail without Redis, and that they succeed after its restart."""
    client.stack("stop", "redis")
    reason = client.run().expect(503, "a run without Redis")["details"]["reason"]
    check(reason == "redis_unavailable", f"reason: {reason}")
    client.call("GET", "/api/v1/agents").expect(200, "a list without Redis")
    client.call("GET", "/ready").expect(200, "/ready without Redis")
    client.call("GET", "/health").expect(503, "/health without Redis")
    client.stack("start", "redis")
    recovery = f"started: run 200 after {client.seconds_until_run():.1f} s"
    report("redis stopped", f"run 503, agents 200, /ready 200, /health 503; {recovery}")


def verify_postgres_outage(client: Client) -> None:
    """Check the responses without PostgreSQL, and that no row is lost."""
    before = client.counts()
    client.stack("stop", "postgres")
    error = client.call("GET", "/api/v1/agents").expect(503, "a list without PostgreSQL")
    reason = error["details"]["reason"]
    check(reason == "database_unavailable", f"reason: {reason}")
    client.call("GET", "/live").expect(200, "/live without PostgreSQL")
    client.call("GET", "/ready").expect(503, "/ready without PostgreSQL")
    client.stack("start", "postgres")
    _, seconds = wait_for(
        "/ready with 200", lambda: client.call("GET", "/ready").status == 200, seconds=60
    )
    check(client.counts() == before, "rows are missing")
    client.run().expect(200, "a run")
    recovery = f"started: /ready and run 200 after {seconds:.1f} s, no row lost"
    report("postgres stopped", f"agents 503, /live 200, /ready 503; {recovery}")


def verify_restart_policy(client: Client) -> None:
    """Check that the restart policy restarts a killed service."""
    for service in SERVERS:
        before = client.counts()
        _crash(client.stack, service)
        client.stack.wait_until_healthy(service)
        seconds = client.seconds_until_run()
        after = client.counts()
        check(all(after[name] >= before[name] for name in before), f"{before} became {after}")
        recovery = f"healthy, run 200 after {seconds:.1f} s more, no row lost"
        report(f"{service} killed", f"SIGKILL; restarted by the engine, {recovery}")


def _crash(stack: Stack, service: str) -> None:
    container = stack.container(service)
    # `docker kill` would count as stopped by the user, so the container would not be restarted.
    host = ("--pid=host", "--user=0", "--network=none", "--entrypoint=sh", IMAGE)
    run("docker", "run", "--rm", *host, "-c", f"kill -9 {container['State']['Pid']}")
    wait_for(
        f"{service} to be restarted",
        lambda: stack.container(service)["RestartCount"] > container["RestartCount"],
        seconds=30,
    )


def verify_restarts(client: Client) -> None:
    """Check that each service can be restarted."""
    for service in SERVERS:
        client.stack("restart", service)
        client.stack.wait_until_healthy(service)
        client.seconds_until_run()
    report("restarted one by one", f"{', '.join(SERVERS)}: healthy, run 200")


def verify_data_kept(client: Client) -> None:
    """Check that rows and secrets are kept after `down` and `up`."""
    before, secrets = client.counts(), client.stack.secrets()
    client.stack("down")
    seconds = client.stack.up()
    check(client.counts() == before, f"{before} became {client.counts()}")
    check(client.stack.secrets() == secrets, "the secrets changed")
    client.run().expect(200, "a run")
    rows = ", ".join(f"{number} {name}" for name, number in before.items())
    report("down, then up", f"the same rows ({rows}) and secrets; {seconds:.0f} s")


def verify_stop(stack: Stack) -> None:
    """Check that the API exits with code 0 soon after SIGTERM."""
    container = stack.container("api")["Id"]
    started = time.monotonic()
    run("docker", "stop", "--time", str(2 * STOP_SECONDS), container)
    seconds = time.monotonic() - started
    code = stack.container("api")["State"]["ExitCode"]
    check(code == 0, f"SIGTERM: exit code {code}")
    check(seconds < STOP_SECONDS, f"SIGTERM: {seconds:.1f} s")
    run("docker", "start", container)
    stack.wait_until_healthy("api")
    report("SIGTERM to the api", f"exit code 0 after {seconds:.1f} s")
