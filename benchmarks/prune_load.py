"""The requests beside `prune_history`: runs of the mock, first pages and single executions."""

import http.client
import json
import threading
import time
from collections import defaultdict
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

RUN, PAGE, READ = "a run", "the first page of the history", "one execution"
KINDS = (RUN, PAGE, READ)
_TIMEOUT_SECONDS = 30.0
Request = tuple[str, str, str | None]


class Load:
    """Requests at a steady rate until the block ends, each kind in its own thread and connection.

    The latency of a request begins when it is due, so a late one is not left out.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        agent_id: str,
        execution_id: str,
        rate: float,
        failures: list[str],
    ) -> None:
        self._address = urlsplit(url).netloc
        self._headers = {"X-API-KEY": key, "Content-Type": "application/json"}
        body = json.dumps({"prompt": "What is new?", "model": "gpt-4o"})
        self._requests: dict[str, Request] = {
            RUN: ("POST", f"agents/{agent_id}/run", body),
            PAGE: ("GET", "history", None),
            READ: ("GET", f"history/{execution_id}", None),
        }
        self._interval_seconds, self._failures = len(KINDS) / rate, failures
        self._taken: dict[str, list[float]] = defaultdict(list)
        self._lock, self._is_over = threading.Lock(), threading.Event()
        self._threads = [threading.Thread(target=self._repeat, args=(kind,)) for kind in KINDS]

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
        """Return the latencies in seconds since the last call, by kind of request."""
        with self._lock:
            taken, self._taken = self._taken, defaultdict(list)
        return taken

    def _repeat(self, kind: str) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_SECONDS)
        due = time.monotonic() + KINDS.index(kind) * self._interval_seconds / len(KINDS)
        while not self._is_over.wait(max(due - time.monotonic(), 0)):
            self._request(connection, kind, due)
            due += self._interval_seconds
        connection.close()

    def _request(self, connection: http.client.HTTPConnection, kind: str, due: float) -> None:
        method, path, body = self._requests[kind]
        try:
            connection.request(method, f"/api/v1/{path}", body, self._headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self._failures.append(f"{kind}: {type(error).__name__}")
            return
        with self._lock:
            self._taken[kind].append(time.monotonic() - due)
        if response.status != 200:
            self._failures.append(f"{kind}: {response.status} {content[:200]!r}")
