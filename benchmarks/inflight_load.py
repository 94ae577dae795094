"""The clients of `benchmarks.inflight`, and what they measure."""

import asyncio
import json
import time
from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any

from benchmarks.inflight_provider import TEXT
from benchmarks.peaks import Peaks

KEY = "inflight-key"
MODEL = "slow"
_CRUD_CLIENTS = 4
_CRUD_PAUSE_SECONDS = 0.05
_TIMEOUT_SECONDS = 60.0


@dataclass
class Measured(Peaks):
    """The measurements. Times are in seconds."""

    runs: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    crud: list[float] = field(default_factory=list)
    crud_wrong: list[str] = field(default_factory=list)
    most_in_flight: int = 0
    cpu_seconds: float = 0.0
    stored_executions: int = 0


class Load:
    """The clients. Each request has a connection of its own, as requests of different users have."""

    def __init__(self, port: int, agent_id: str, options: Namespace, measured: Measured) -> None:
        self._port = port
        self._path = f"/api/v1/agents/{agent_id}/run"
        self._options = options
        self._measured = measured
        self._in_flight = 0
        self._finished = asyncio.Event()

    async def generate(self) -> None:
        """Send all requests, and return after the last response."""
        crud = [asyncio.create_task(self._crud(number)) for number in range(_CRUD_CLIENTS)]
        started = time.monotonic()
        pause = self._options.over / self._options.runs
        runs = [
            asyncio.create_task(self._run(started + number * pause))
            for number in range(self._options.runs)
        ]
        await asyncio.gather(*runs)
        self._finished.set()
        await asyncio.gather(*crud)

    async def _run(self, at: float) -> None:
        """Run once at the time `at`. The duration is counted from `at`, even if this process is late."""
        await asyncio.sleep(at - time.monotonic())
        self._in_flight += 1
        self._measured.most_in_flight = max(self._measured.most_in_flight, self._in_flight)
        body = {"prompt": "What is new?", "model": MODEL}
        try:
            status, answer = await self._call("POST", self._path, body)
            if status != 200 or answer["response"] != TEXT:
                self._measured.wrong.append(f"{status} {answer}")
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            self._measured.wrong.append(f"{type(error).__name__} {error}")
        self._in_flight -= 1
        self._measured.runs.append(time.monotonic() - at)

    async def _crud(self, number: int) -> None:
        rounds = 0
        while not self._finished.is_set():
            rounds += 1
            tool = await self._timed(
                "POST", "/api/v1/tools", {"name": f"t{number}-{rounds}", "description": "d"}, 201
            )
            path = f"/api/v1/tools/{tool.get('id')}"
            await self._timed("GET", path, None, 200)
            await self._timed("PATCH", path, {"description": "changed"}, 200)
            await self._timed("GET", "/api/v1/tools?limit=20", None, 200)
            await self._timed("DELETE", path, None, 204)

    async def _timed(self, method: str, path: str, body: Any, expected: int) -> Any:
        started = time.monotonic()
        answer: Any = {}
        try:
            status, answer = await self._call(method, path, body)
            if status != expected:
                self._measured.crud_wrong.append(f"{method} {path}: {status} {answer}")
        except (TimeoutError, OSError, ValueError, asyncio.IncompleteReadError) as error:
            self._measured.crud_wrong.append(f"{method} {path}: {type(error).__name__} {error}")
        self._measured.crud.append(time.monotonic() - started)
        await asyncio.sleep(_CRUD_PAUSE_SECONDS)
        return answer

    async def _call(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        return await asyncio.wait_for(self._exchange(method, path, body), _TIMEOUT_SECONDS)

    async def _exchange(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        content = json.dumps(body).encode() if body is not None else b""
        head = [
            f"{method} {path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"X-API-KEY: {KEY}",
            "Connection: close",
            "Content-Type: application/json",
            f"Content-Length: {len(content)}",
        ]
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write("\r\n".join([*head, "", ""]).encode() + content)
            response = await reader.read()
        finally:
            writer.close()
        status = int(response.split(b" ", 2)[1])
        answer = response.partition(b"\r\n\r\n")[2]
        return status, json.loads(answer) if answer else None
