"""The health checks of a worker: `/live` and `/ready` on a port of its own."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import orjson
from django.db import connection

from map_project.api.views import readiness


def serve_readiness(host: str, port: int) -> None:
    """Serve in a thread. Raises OSError if the port is in use."""
    server = ThreadingHTTPServer((host, port), _Handler)
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    """`/live`: the process runs. `/ready`: the database is available and its migrations are applied."""

    timeout = 5

    def do_GET(self) -> None:
        match self.path:
            case "/live":
                self._respond(200, {"status": "ok"})
            case "/ready":
                try:
                    status, body = readiness()
                finally:
                    connection.close()
                self._respond(status, body)
            case _:
                self._respond(404, {"status": "not found"})

    def _respond(self, status: int, body: object) -> None:
        content = orjson.dumps(body)
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Health checks are not logged."""
