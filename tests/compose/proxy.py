"""nginx with deploy/nginx.conf, on ports of the test."""

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import write_certificate
from tests.checkouts import empty_checkout, eventually
from tests.live import free_port

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
HOST = "api.example.com"


@dataclass(frozen=True)
class Proxy:
    """A running nginx. `certificate` is the authority for HOST."""

    http_port: int
    https_port: int
    certificate: Path


@contextmanager
def nginx(upstream_port: int) -> Iterator[Proxy]:
    """Run nginx in front of a server on loopback. Only ports and paths of the configuration are changed."""
    # As root, the workers of nginx run under another account.
    with empty_checkout() as folder:
        proxy = Proxy(free_port(), free_port(), folder / "fullchain.pem")
        write_certificate(HOST, proxy.certificate, folder / "privkey.pem")
        _configure(folder, proxy, upstream_port)
        command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
        checked = subprocess.run([*command, "-t"], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr
        process = subprocess.Popen([*command, "-g", "daemon off;"])
        try:
            assert eventually(lambda: _listens(proxy.https_port))
            yield proxy
        finally:
            process.send_signal(signal.SIGQUIT)
            assert process.wait(30) == 0


def _configure(folder: Path, proxy: Proxy, upstream_port: int) -> None:
    text = CONFIGURATION.read_text()
    for old, new in (
        ("/etc/nginx/certificates/", f"{folder}/"),
        ("/run/nginx.pid", f"{folder}/nginx.pid"),
        ("http://api:8000", f"http://127.0.0.1:{upstream_port}"),
        ("listen 80 ", f"listen 127.0.0.1:{proxy.http_port} "),
        ("listen 443 ", f"listen 127.0.0.1:{proxy.https_port} "),
        ("http {", f"http {{ client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;"),
    ):
        assert old in text, f"{old} is not in {CONFIGURATION}"
        text = text.replace(old, new)
    (folder / "nginx.conf").write_text(text)


def _listens(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port)).close()
        return True
    return False
