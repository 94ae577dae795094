"""A Compose project under proof: what is asked of it, of the engine, and of the API over HTTP."""

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
LONGEST_SECONDS = 1_800

Environment = dict[str, str]

# Of our own environment only these reach Compose: what a user exported must not decide a proof.
_HANDED_ON = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "DOCKER_BUILDKIT")


class ProofError(Exception):
    """Something was not as it must be; the sentence says what."""


def say(what: str, seen: str) -> None:
    """One line of the proof."""
    print(f"{what:<24} {seen}", flush=True)


def check(condition: bool, otherwise: str) -> None:
    """Raises ProofError with that sentence unless the condition holds."""
    if not condition:
        raise ProofError(otherwise)


def run(*command: str, cwd: Path | None = None, extra: Environment | None = None) -> str:
    """Run a command to its end; its standard output. Raises ProofError with all it printed."""
    line = " ".join(command)
    environment = {name: os.environ[name] for name in _HANDED_ON if name in os.environ}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=environment | (extra or {}),
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        # Bytes, whatever text=True says.
        printed = (error.stdout or b"").decode(errors="replace")
        raise ProofError(f"{line} took over {LONGEST_SECONDS} s\n{printed}") from error
    if done.returncode:
        raise ProofError(f"{line} ended with {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def wait_for(what: str, probe: Callable[[], T], *, seconds: float) -> tuple[T, float]:
    """Ask until the answer is true; the answer and the seconds it took. Raises ProofError."""
    started = time.monotonic()
    while not (answer := probe()):
        if time.monotonic() - started > seconds:
            raise ProofError(f"waited {seconds:g} s in vain: {what}")
        time.sleep(0.05)
    return answer, time.monotonic() - started


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; status 0 when there was none."""

    status: int
    body: Any

    def of(self, status: int, what: str) -> Any:
        """The body. Raises ProofError when the status is another."""
        check(self.status == status, f"{what}: {self.status} {self.body}, not {status}")
        return self.body


@dataclass(frozen=True)
class Stack:
    """One project: `compose` is the command that stands for Compose, `folder` the checkout."""

    compose: tuple[str, ...]
    folder: Path
    project: str
    address: str

    def __call__(self, *arguments: str) -> str:
        """Run Compose in the checkout, as a user would."""
        command = (*self.compose, "-p", self.project, *arguments)
        return run(*command, cwd=self.folder, extra={"PUBLISH": self.address})

    def shell(self, lines: str) -> str:
        """Run lines of a page that say `docker compose`, in the checkout."""
        script = lines.replace("docker compose", f"{shlex.join(self.compose)} -p {self.project}")
        return run("bash", "-euc", script, cwd=self.folder, extra={"PUBLISH": self.address})

    def execute(self, *command: str) -> str:
        """Run a command in the running api container."""
        return self("exec", "-T", "api", *command)

    def secrets(self) -> dict[str, str]:
        """The secrets' volume, by file name."""
        names = self.execute("ls", "/run/map").split()
        return {name: self.execute("cat", f"/run/map/{name}") for name in names}

    def up(self) -> float:
        """Bring it up; the seconds until every server was healthy."""
        started = time.monotonic()
        self("up", "-d")
        self.wait_until_healthy(*SERVERS)
        return time.monotonic() - started

    def container(self, service: str) -> dict[str, Any]:
        """What the engine knows of the service's container, running or not."""
        labels = {"project": self.project, "service": service, "oneoff": "False"}
        filters = [
            f"--filter=label=com.docker.compose.{key}={text}" for key, text in labels.items()
        ]
        ids = run("docker", "ps", "--all", "--quiet", *filters).split()
        if len(ids) != 1:
            raise ProofError(f"{service} has {len(ids)} containers, not one")
        inspected: list[dict[str, Any]] = json.loads(run("docker", "inspect", ids[0]))
        return inspected[0]

    def wait_until_healthy(self, *services: str, seconds: float = 90) -> float:
        """Seconds until all of them were."""

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
    ) -> Answer:
        """One request, JSON both ways."""
        sent = {"X-API-KEY": key, "Content-Type": "application/json", **(headers or {})}
        content = None if body is None else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request(method, path, content, sent)
            response = connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as error:
            return Answer(0, str(error))
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return Answer(response.status, json.loads(text) if is_json else text)
