"""Clients of the API for tests: in this process, or over a socket to a live server."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.test import Client
from django.test.client import ClientHandler


@dataclass(frozen=True)
class Answer:
    """A response of the API. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error_code(self) -> str:
        """Check that the body is an error and return its code."""
        assert self.headers["content-type"] == "application/json"
        assert set(self.json) == {"error_code", "message", "details"}
        assert isinstance(self.json["message"], str)
        assert isinstance(self.json["details"], dict)
        code = self.json["error_code"]
        assert isinstance(code, str)
        return code

    @property
    def details(self) -> Any:
        return self.json["details"]

    @property
    def fields(self) -> Any:
        """The messages of a VALIDATION_ERROR, by field."""
        assert self.error_code == "VALIDATION_ERROR", self.content
        return self.details["fields"]


@cache
def _handler() -> ClientHandler:
    """Return the handler. It is created once, because WhiteNoise scans all static files."""
    handler = ClientHandler(enforce_csrf_checks=True)
    handler.load_middleware()
    return handler


class Api:
    """A client that calls the API in this process, with all middleware but without a socket."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send `body` as JSON or `raw` as it is. A path without a leading slash is below /api/v1."""
        defaults = (
            {"Content-Type": "application/json"} if body is not None or raw is not None else {}
        )
        if self.key:
            defaults["X-API-KEY"] = self.key
        content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        url = path if path.startswith("/") else f"/api/v1/{path}"
        return self._send(method, url, content, {**defaults, **(headers or {})})

    def _send(self, method: str, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        headers = dict(headers)
        content_type = headers.pop("Content-Type", "")
        client = Client(raise_request_exception=False)
        client.handler = _handler()
        response = client.generic(method, url, content, content_type, headers=headers)
        received = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, received, response.getvalue())

    def get(self, path: str, **kwargs: Any) -> Answer:
        return self.call("GET", path, **kwargs)

    def post(self, path: str, body: Any = None, **kwargs: Any) -> Answer:
        return self.call("POST", path, body, **kwargs)

    def put(self, path: str, body: Any = None, **kwargs: Any) -> Answer:
        return self.call("PUT", path, body, **kwargs)

    def patch(self, path: str, body: Any = None, **kwargs: Any) -> Answer:
        return self.call("PATCH", path, body, **kwargs)

    def delete(self, path: str, **kwargs: Any) -> Answer:
        return self.call("DELETE", path, **kwargs)

    def run(self, agent_id: object, prompt: str = "What is new?", model: str = "gpt-4o") -> Answer:
        return self.post(f"agents/{agent_id}/run", {"prompt": prompt, "model": model})


class LiveApi(Api):
    """A client that calls a live server, with a new connection for each call."""

    def __init__(self, port: int, key: str | None = None) -> None:
        super().__init__(key)
        self.port = port

    def _send(self, method: str, url: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, url, content or None, dict(headers))
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, response.read())
        finally:
            connection.close()
