"""Clients of a platform whose processes fail, with a ledger of all that they were told."""

import http.client
import json
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.api import Answer, LiveApi
from tests.stub_model import completion

CALLS_PER_RUN = 3


@dataclass
class Ledger:
    """What clients, tools and receivers of webhooks have seen.

    `answers` are the execution and the status in each success response, by idempotency key. `effects` count
    the calls of the tool with side effects, by prompt and number of the call.
    """

    answers: dict[str, set[tuple[str, str]]] = field(default_factory=dict)
    effects: Counter[str] = field(default_factory=Counter)
    events: Counter[tuple[str, str]] = field(default_factory=Counter)
    statuses: Counter[int] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)


class QuietServer(ThreadingHTTPServer):
    """Does not report clients that were killed."""

    daemon_threads = True
    request_queue_size = 500

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextmanager
def surroundings(ledger: Ledger) -> Iterator[int]:
    """Serve the model, the tool and the receiver of webhooks, and yield the port.

    The model requests the tool `act` three times, one call after the other, with the prompt as argument.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(random.uniform(0, 0.5))
            match self.path.split("/")[1]:
                case "act":
                    with ledger.lock:
                        ledger.effects[f"{body['prompt']} {body['number']}"] += 1
                    time.sleep(random.uniform(0, 0.3))
                    self.reply({"done": True})
                case "hook":
                    event = (body["data"]["id"], body["type"])
                    with ledger.lock:
                        ledger.events[event] += 1
                    self.reply({})
                case _:
                    self.reply(self.completion(body["messages"]))

        def completion(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
            number = sum(message["role"] == "tool" for message in messages)
            if number == CALLS_PER_RUN:
                return completion("Done.")
            arguments = {"prompt": messages[1]["content"], "number": number}
            return completion("", calls=[("act", json.dumps(arguments))])

        def reply(self, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = QuietServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class Client:
    """Sends runs to random servers, each with an idempotency key, until it is stopped.

    After an error that may be temporary it repeats the request, as SDKs do.
    """

    key: str
    agent_id: str
    ports: list[int]
    ledger: Ledger
    stop: threading.Event

    def run(self) -> None:
        while not self.stop.is_set():
            self.send(str(uuid.uuid4()), background=random.random() < 0.5)

    def send(self, idempotency_key: str, *, background: bool) -> None:
        body = {"prompt": idempotency_key, "model": "real", "background": background}
        for attempt in range(40):
            answer = self.post(body, idempotency_key)
            if answer is not None:
                with self.ledger.lock:
                    self.ledger.statuses[answer.status] += 1
                    if answer.status in {200, 202}:
                        found = (answer.json["execution_id"], answer.json["status"])
                        self.ledger.answers.setdefault(idempotency_key, set()).add(found)
                if answer.status not in {409, 429, 503}:
                    return
            time.sleep(min(0.2 * 1.5**attempt, 2))

    def post(self, body: dict[str, Any], idempotency_key: str) -> Answer | None:
        client = LiveApi(random.choice(self.ports), self.key)
        headers = {"Idempotency-Key": idempotency_key}
        with suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
            return client.post(f"agents/{self.agent_id}/run", body, headers=headers)
        return None
