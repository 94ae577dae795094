"""An HTTP server in another process for tools to call, with valid, invalid and malicious responses."""

import base64
import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit

# The Content-Length of `at_big`.
TEN_GIGABYTES = 10 * 1024**3


@contextmanager
def tool_server() -> Iterator[int]:
    """Run the server on loopback and yield its port."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", __file__], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


class Handler(BaseHTTPRequestHandler):
    """The first segment of a path selects a method."""

    def respond(self) -> None:
        url = urlsplit(self.path)
        self.query = {name: values[0] for name, values in parse_qs(url.query).items()}
        self.content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        with suppress(OSError):
            getattr(self, f"at_{url.path.split('/')[1] or 'echo'}")()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond  # noqa: N815  http.server's names

    def log_message(self, *_: object) -> None:
        pass

    def reply(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content_Type": "text/plain; charset=utf-8", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def at_echo(self) -> None:
        request = {
            "method": self.command,
            "path": self.path,
            "headers": {name.lower(): value for name, value in self.headers.items()},
            "body": self.content.decode(),
        }
        self.reply(json.dumps(request).encode(), Content_Type="application/json")

    def at_raw(self) -> None:
        """The response that the argument `response` has in base64."""
        self.wfile.write(base64.b64decode(json.loads(self.content)["response"]))

    def at_status(self) -> None:
        self.reply(b"so it is", int(self.query["code"]))

    def at_redirect(self) -> None:
        self.reply(b"", 302, Location=self.query["to"])

    def at_empty(self) -> None:
        self.send_response(204)
        self.end_headers()

    def at_slow(self) -> None:
        time.sleep(float(self.query["seconds"]))
        self.reply(b"at last")

    def at_big(self) -> None:
        """A body that does not end before the client disconnects."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(TEN_GIGABYTES))
        self.end_headers()
        while True:
            self.wfile.write(b"x" * 65536)

    def at_sized(self) -> None:
        self.reply(self.query.get("text", "é").encode() * int(self.query["times"]))

    def at_drip(self) -> None:
        """One byte at a time, each within the read timeout."""
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(1000):
            self.wfile.write(b"x")
            time.sleep(0.1)

    def at_drip_headers(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        for number in range(1000):
            self.wfile.write(b"X-%d: y\r\n" % number)
            time.sleep(0.1)

    def at_headers(self) -> None:
        """Endless headers."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            self.wfile.write(b"X-Header: %s\r\n" % (b"y" * 1000))

    def at_line(self) -> None:
        """An endless status line."""
        while True:
            self.wfile.write(b"HTTP/1.1 200 " + b"O" * 65536)

    def at_continue(self) -> None:
        """Endless informational responses."""
        while True:
            self.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")

    def at_chunks(self) -> None:
        """A chunk with an endless extension."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        while True:
            self.wfile.write(b"x" * 65536)

    def at_small_chunks(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(3):
            self.wfile.write(b"2\r\n%d,\r\n" % number)
        self.wfile.write(b"0\r\n\r\n")

    def at_tiny_chunks(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.wfile.write(b"1\r\nx\r\n" * 60_000 + b"0\r\n\r\n")

    def at_until_closed(self) -> None:
        self.wfile.write(b"HTTP/1.0 200 OK\r\n\r\nuntil it closes")

    def at_gzip(self) -> None:
        self.reply(gzip.compress(b"\0" * 50_000_000), Content_Encoding="gzip")

    def at_garbage(self) -> None:
        self.wfile.write(b"220 mail.example.com ESMTP\r\n")

    def at_truncated(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")

    def at_nothing(self) -> None:
        """Close the connection without a response."""

    def at_image(self) -> None:
        self.reply(b"\x89PNG\r\n", Content_Type="image/png")

    def at_leak_in_header(self) -> None:
        self.reply(b"", Content_Type=f"image/{self.headers['X-Secret']}")

    def at_bytes(self) -> None:
        """Bytes that are not UTF-8."""
        self.reply(b"a\xff" * int(self.query["times"]))

    def at_latin(self) -> None:
        self.reply("süß".encode("latin-1"), Content_Type="text/plain; charset=iso-8859-1")

    def at_odd(self) -> None:
        """Bytes that are not UTF-8, a NUL, and a charset whose codec is very slow."""
        self.reply(b"a\xff\0b", Content_Type="text/plain; charset=punycode")

    def at_leak(self) -> None:
        """Repeat the secret in many encodings."""
        secret = self.headers.get("X-Secret", "").encode()
        authorization = self.headers.get("Authorization", "").encode()
        encodings = [
            secret,
            authorization,
            quote(secret, safe="").encode(),
            base64.b64encode(secret),
        ]
        encodings += [base64.b64encode(b"user:" + secret), base64.b64encode(b"me:" + secret + b"!")]
        encodings += [json.dumps(secret.decode()).encode(), self.path.encode()]
        self.reply(b"\n".join(encodings), int(self.query.get("code", "200")))

    def at_leak_at_limit(self) -> None:
        """Put the secret where the response is cut."""
        secret = self.headers.get("X-Secret", "").encode()
        self.reply(b"x" * (64 * 1024 - len(secret) // 2) + secret + b"y" * 1000)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()
