"""The requests beside `prune_history`: runs of the mock, first pages and single executions."""

import http.client
import json
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

THREADS = 4
RUN, PAGE, READ = "a run", "the first page of the history", "one execution"
KINDS = (RUN, PAGE, READ)
_TIMEOUT_SECONDS = 30.0


class Load:
    """Requests at a steady rate, in threads, until the block ends. A late request is not left out."""

    def __init__(self, url: str, key: str, agent_id: str, rate: float, wrong: list[str]) -> None:
        self._address = urlsplit(url).netloc
        self._headers = {"X-API-KEY": key, "Content-Type": "application/json"}
        self._agent_id, self._interval_seconds, self._wrong = agent_id, THREADS / rate, wrong
        self._taken: dict[str, list[float]] = defaultdict(list)
        self._lock, self._is_over = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(THREADS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._is_over.set()
        for thread in self._threads:
            thread.join()

    def taken(self) -> dict[str, list[float]]:
        """Return the latencies since the last call, by kind of request."""
        with self._lock:
            taken, self._taken = self._taken, defaultdict(list)
        return taken

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_SECONDS)
        due = time.monotonic() + number * self._interval_seconds / THREADS
        execution_id, count = "", 0
        while not self._is_over.wait(max(due - time.monotonic(), 0)):
            kind = KINDS[count % len(KINDS)] if execution_id else RUN
            found = self._request(connection, kind, due, execution_id)
            execution_id = found.get("execution_id", execution_id)
            due += self._interval_seconds
            count += 1
        connection.close()

    def _request(
        self, connection: http.client.HTTPConnection, kind: str, due: float, execution_id: str
    ) -> dict[str, Any]:
        """Make a request. Its latency begins when it is due. Return the body."""
        method, path, body = "GET", f"history/{execution_id}" if kind == READ else "history", None
        if kind == RUN:
            method, path = "POST", f"agents/{self._agent_id}/run"
            body = json.dumps({"prompt": "What is new?", "model": "gpt-4o"})
        try:
            connection.request(method, f"/api/v1/{path}", body, self._headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._wrong.append(f"{kind}: {type(error).__name__}")
            return {}
        with self._lock:
            self._taken[kind].append(time.monotonic() - due)
        if response.status != 200:
            self._wrong.append(f"{kind}: {response.status} {content[:200]!r}")
            return {}
        found: dict[str, Any] = json.loads(content)
        return found
