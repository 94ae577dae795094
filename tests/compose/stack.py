"""A Compose project under test: commands of Compose and the engine, and requests to the API."""

import http.client
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

BASE_IMAGE = "python:3.13-slim"
IMAGE = "mini-agent-platform"
SERVERS = ("postgres", "redis", "api")
ONE_SHOTS = ("secrets", "migrate")
COMMAND_TIMEOUT_SECONDS = 1_800

Environment = dict[str, str]

# Only these variables are passed on: others that the user has exported must not affect the result.
_PASSED_ON = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_BUILDKIT")


class CheckError(Exception):
    """A check failed. The message says which."""


def report(what: str, result: str) -> None:
    """Print one line of the report."""
    print(f"{what:<24} {result}", flush=True)


def check(condition: bool, message: str) -> None:
    """Raise CheckError with the message unless the condition holds."""
    if not condition:
        raise CheckError(message)


def run(*command: str, cwd: Path | None = None, extra: Environment | None = None) -> str:
    """Run a command and return its standard output. Raises CheckError with all its output."""
    text = " ".join(command)
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment | (extra or {}),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        # The output is bytes, even with text=True.
        output = (error.stdout or b"").decode(errors="replace")
        raise CheckError(f"{text} took over {COMMAND_TIMEOUT_SECONDS} s\n{output}") from error
    if done.returncode:
        raise CheckError(f"{text} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def wait_for(what: str, probe: Callable[[], T], *, seconds: float) -> tuple[T, float]:
    """Call `probe` until its result is true. Return the result and the seconds. Raises CheckError."""
    started = time.monotonic()
    while not (result := probe()):
        if time.monotonic() - started > seconds:
            raise CheckError(f"waited {seconds:g} s for {what}")
        time.sleep(0.05)
    return result, time.monotonic() - started


@dataclass(frozen=True)
class Response:
    """An HTTP response. The status is 0 if there was none."""

    status: int
    body: Any

    def expect(self, status: int, what: str) -> Any:
        """Return the body. Raises CheckError if the status differs."""
        check(self.status == status, f"{what}: {self.status} {self.body}, not {status}")
        return self.body


@dataclass(frozen=True)
class Stack:
    """A Compose project. `compose` is the command of Compose, `folder` the checkout."""

    compose: tuple[str, ...]
    folder: Path
    project: str
    address: str

    def __call__(self, *arguments: str) -> str:
        """Run Compose in the checkout, as a user would."""
        command = (*self.compose, "-p", self.project, *arguments)
        return run(*command, cwd=self.folder, extra={"PUBLISH": self.address})

    def shell(self, lines: str) -> str:
        """Run shell lines that contain `docker compose` in the checkout."""
        script = lines.replace("docker compose", f"{shlex.join(self.compose)} -p {self.project}")
        return run("bash", "-euc", script, cwd=self.folder, extra={"PUBLISH": self.address})

    def execute(self, *command: str) -> str:
        """Run a command in the running api container."""
        return self("exec", "-T", "api", *command)

    def secrets(self) -> dict[str, str]:
        """Return the contents of the secrets' volume by file name."""
        names = self.execute("ls", "/run/map").split()
        return {name: self.execute("cat", f"/run/map/{name}") for name in names}

    def up(self) -> float:
        """Start the project. Return the seconds until all servers are healthy."""
        started = time.monotonic()
        self("up", "-d")
        self.wait_until_healthy(*SERVERS)
        return time.monotonic() - started

    def container(self, service: str) -> dict[str, Any]:
        """Return the inspected container of the service, running or not."""
        labels = {"project": self.project, "service": service, "oneoff": "False"}
        filters = [
            f"--filter=label=com.docker.compose.{key}={text}" for key, text in labels.items()
        ]
        ids = run("docker", "ps", "--all", "--quiet", *filters).split()
        if len(ids) != 1:
            raise CheckError(f"{service} has {len(ids)} containers, not one")
        inspected: list[dict[str, Any]] = json.loads(run("docker", "inspect", ids[0]))
        return inspected[0]

    def wait_until_healthy(self, *services: str, seconds: float = 90) -> float:
        """Wait until the services are healthy. Return the seconds."""

        def all_healthy() -> bool:
            return all(self._is_healthy(service) for service in services)

        return wait_for(f"{', '.join(services)} to be healthy", all_healthy, seconds=seconds)[1]

    def _is_healthy(self, service: str) -> bool:
        state = self.container(service)["State"]
        return bool(state["Running"]) and state["Health"]["Status"] == "healthy"

    def call(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        key: str = "tenant-a-key",
        headers: dict[str, str] | None = None,
    ) -> Response:
        """Send a request. Its body and that of the response are JSON."""
        all_headers = {"X-API-KEY": key, "Content-Type": "application/json", **(headers or {})}
        content = None if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request(method, path, content, all_headers)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            return Response(0, str(error))
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return Response(response.status, json.loads(text) if is_json else text)
