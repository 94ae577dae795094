"""What is proved by stopping, killing and restarting the services."""

import time
from typing import Any

from tests.compose.stack import IMAGE, SERVERS, Answer, Stack, check, run, say, wait_for

AGENT = {"name": "Witness", "role": "Watchman", "description": "Sees whether the rows stay."}
STOP_SECONDS = 30


class Client:
    """A tenant with one agent, whose rows are counted before and after."""

    def __init__(self, stack: Stack, key: str) -> None:
        self.stack, self.key = stack, key
        agent = self.call("POST", "/api/v1/agents", AGENT).of(201, "an agent")
        self.run_path = f"/api/v1/agents/{agent['id']}/run"
        self.run().of(200, "a run")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Answer:
        return self.stack.call(method, path, body, key=self.key)

    def run(self) -> Answer:
        return self.call("POST", self.run_path, {"prompt": "Still there?", "model": "gpt-4o"})

    def until_run(self) -> float:
        """Seconds until a run is answered with 200."""
        return wait_for("a run with 200", lambda: self.run().status == 200, seconds=60)[1]

    def counts(self) -> dict[str, int]:
        """How many rows each list has."""
        lists = ("agents", "history")
        return {name: self.call("GET", f"/api/v1/{name}").of(200, name)["total"] for name in lists}


def prove_redis_lost(client: Client) -> None:
    """Runs are refused, the rest goes on, and the limiter is back by itself."""
    client.stack("stop", "redis")
    reason = client.run().of(503, "a run without Redis")["details"]["reason"]
    check(reason == "redis_unavailable", f"reason: {reason}")
    client.call("GET", "/api/v1/agents").of(200, "a list without Redis")
    client.call("GET", "/ready").of(200, "/ready without Redis")
    client.call("GET", "/health").of(503, "/health without Redis")
    client.stack("start", "redis")
    back = f"started: run 200 after {client.until_run():.1f} s"
    say("redis stopped", f"run 503, agents 200, /ready 200, /health 503; {back}")


def prove_postgres_lost(client: Client) -> None:
    """Everything that needs it says so, and the same rows are there again afterwards."""
    before = client.counts()
    client.stack("stop", "postgres")
    refused = client.call("GET", "/api/v1/agents").of(503, "a list without PostgreSQL")
    reason = refused["details"]["reason"]
    check(reason == "database_unavailable", f"reason: {reason}")
    client.call("GET", "/live").of(200, "/live without PostgreSQL")
    client.call("GET", "/ready").of(503, "/ready without PostgreSQL")
    client.stack("start", "postgres")
    _, seconds = wait_for(
        "/ready with 200", lambda: client.call("GET", "/ready").status == 200, seconds=60
    )
    check(client.counts() == before, "rows are gone")
    client.run().of(200, "a run")
    back = f"started: /ready and run 200 after {seconds:.1f} s, no row lost"
    say("postgres stopped", f"agents 503, /live 200, /ready 503; {back}")


def prove_crashes(client: Client) -> None:
    """SIGKILL from outside counts as a crash: the restart policy must answer it."""
    for service in SERVERS:
        before = client.counts()
        _crash(client.stack, service)
        client.stack.wait_until_healthy(service)
        seconds = client.until_run()
        after = client.counts()
        check(all(after[name] >= before[name] for name in before), f"{before} became {after}")
        back = f"healthy, run 200 after {seconds:.1f} s more, no row lost"
        say(f"{service} killed", f"SIGKILL; started again by the engine, {back}")


def _crash(stack: Stack, service: str) -> None:
    container = stack.container(service)
    # `docker kill` would count as a wish of the user, after which nothing is restarted.
    host = ("--pid=host", "--user=0", "--network=none", "--entrypoint=sh", IMAGE)
    run("docker", "run", "--rm", *host, "-c", f"kill -9 {container['State']['Pid']}")
    wait_for(
        f"{service} to be started again",
        lambda: stack.container(service)["RestartCount"] > container["RestartCount"],
        seconds=30,
    )


def prove_restarts(client: Client) -> None:
    """`restart`, one service after another."""
    for service in SERVERS:
        client.stack("restart", service)
        client.stack.wait_until_healthy(service)
        client.until_run()
    say("restarted one by one", f"{', '.join(SERVERS)}: healthy, run 200")


def prove_data_stays(client: Client) -> None:
    """`down` and `up` again: nothing that matters lives in a container."""
    before, secrets = client.counts(), client.stack.secrets()
    client.stack("down")
    seconds = client.stack.up()
    check(client.counts() == before, f"{before} became {client.counts()}")
    check(client.stack.secrets() == secrets, "the secrets changed")
    client.run().of(200, "a run")
    rows = ", ".join(f"{number} {name}" for name, number in before.items())
    say("down, then up", f"the same rows ({rows}) and secrets; {seconds:.0f} s")


def prove_stop(stack: Stack) -> None:
    """SIGTERM ends the API, quickly and with 0."""
    container = stack.container("api")["Id"]
    started = time.monotonic()
    run("docker", "stop", "--time", str(2 * STOP_SECONDS), container)
    seconds = time.monotonic() - started
    code = stack.container("api")["State"]["ExitCode"]
    check(code == 0, f"SIGTERM: exit code {code}")
    check(seconds < STOP_SECONDS, f"SIGTERM: {seconds:.1f} s")
    run("docker", "start", container)
    stack.wait_until_healthy("api")
    say("SIGTERM to the api", f"exit code 0 after {seconds:.1f} s")
