"""The command `up`, which `make run` calls: it sets up and serves an empty checkout."""

import signal
import socket
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand

from map_project.embedded import location
from map_project.embedded.instance import single_instance
from map_project.embedded.parent import Parent
from map_project.embedded.ports import await_port
from map_project.embedded.servers import running_as_configured
from map_project.embedded.static_files import collect
from map_project.embedded.waiting import wait_until
from map_project.environment import child_environment

_START_SECONDS = 60.0
_POLL_SECONDS = 0.5
_GREETING = """
Mini Agent Platform serves on {address} (Ctrl-C stops it)

  documentation   {address}/docs
  admin           {address}/admin/   (create an account: .venv/bin/python manage.py create_operator NAME)
  demo keys       tenant-a-key, tenant-b-key

  curl -H 'X-API-KEY: tenant-a-key' {address}/api/v1/tools
"""


class Command(BaseCommand):
    """A signal stops all that it started."""

    help = "Start PostgreSQL and Redis, apply the migrations, create the demo tenants and start the server."
    requires_system_checks = ()
    _is_stopping = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--follow-parent",
            type=int,
            metavar="PID",
            help="stop when this parent process ends",
        )

    def handle(self, *_args: Any, follow_parent: int | None, **_options: Any) -> None:
        for stop_signal in (signal.SIGINT, signal.SIGTERM):
            signal.signal(stop_signal, _exit)
        parent = Parent(follow_parent) if follow_parent else None
        with single_instance(location(settings.BASE_DIR).data_dir, _address()):
            await_port(settings.HOST, settings.PORT)
            with running_as_configured():
                self.stdout.write("Migrating the database ...")
                call_command("migrate", interactive=False, verbosity=0)
                call_command("seed_demo", verbosity=0)
                static_root = location(settings.BASE_DIR).data_dir / "static"
                collect(static_root)
                sys.exit(self._serve(parent, static_root))

    def _serve(self, parent: Parent | None, static_root: Path) -> int:
        """Run the server and a worker until they are stopped. Returns the server's exit code.

        They have sessions of their own, so that Ctrl-C does not reach them: a SIGTERM lets them finish the
        runs in progress. They stop when their standard input is closed, also if this process is killed. If
        one of them ends, the other is stopped.
        """
        server = _start(["-m", "map_project.server"], static_root)
        worker = _start(["manage.py", "worker"], static_root)
        for stop_signal in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # nohup ignores SIGHUP.
            if signal.getsignal(stop_signal) is not signal.SIG_IGN:
                signal.signal(stop_signal, lambda *_: self._stop(server, worker))
        started = wait_until(lambda: server.poll() is not None or _is_listening(), _START_SECONDS)
        if started and server.poll() is None:
            self.stdout.write(_GREETING.format(address=_address()))
            self.stdout.flush()
        is_failure = False
        while server.poll() is None or worker.poll() is None:
            has_ended = server.poll() is not None or worker.poll() is not None
            if not self._is_stopping and (has_ended or (parent and parent.is_ending())):
                is_failure = has_ended
                self._stop(server, worker)
            with suppress(subprocess.TimeoutExpired):
                (worker if server.poll() is not None else server).wait(_POLL_SECONDS)
        return (server.returncode or worker.returncode) if is_failure else 0

    def _stop(self, *processes: subprocess.Popen[bytes]) -> None:
        """Let the processes finish their runs; the second time, abort them."""
        for process in processes:
            process.send_signal(signal.SIGINT if self._is_stopping else signal.SIGTERM)
        self._is_stopping = True


def _start(arguments: Sequence[str], static_root: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *arguments, "--stop-with-stdin"],
        stdin=subprocess.PIPE,
        start_new_session=True,
        cwd=settings.BASE_DIR,
        env=child_environment(STATIC_ROOT=str(static_root)),
    )


def _exit(*_: object) -> None:
    # A signal before the server starts. The exception stops the embedded servers.
    sys.exit(0)


def _is_listening() -> bool:
    with suppress(OSError):
        socket.create_connection((_host(), settings.PORT), timeout=1).close()
        return True
    return False


def _host() -> str:
    """The host for a client on this machine."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.HOST, settings.HOST)  # noqa: S104


def _address() -> str:
    host = _host()
    return f"http://[{host}]:{settings.PORT}" if ":" in host else f"http://{host}:{settings.PORT}"
