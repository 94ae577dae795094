"""A server process. Any process of the checkout can start, find and stop it.

A server inherits the descriptor of a lock file, so the lock is held as long as one of its processes runs.
The lock shows whether the server runs. The process ID in the PID file does not: after a reboot, another
process can have it.
"""

import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from map_project.embedded import Location
from map_project.embedded.accounts import Account
from map_project.embedded.errors import EmbeddedServersError
from map_project.embedded.locks import FileLock, open_no_link
from map_project.embedded.waiting import wait_until

# A database that was killed first replays its write-ahead log.
_START_SECONDS = 120.0
# A running server that is not ready after this time has lost its sockets.
_ADOPT_SECONDS = 10.0
# The servers do not inherit the environment: PGPORT, for example, would change the socket's name.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


class Daemon(ABC):
    """A server of a location. The caller of any method holds the lock `gate.lock` of the location."""

    title: str
    name: str
    # The file in the data folder to which the server writes its process ID.
    pid_file_name: str
    socket_name: str
    # The signals that stop it, in the order of escalation, each with a timeout in seconds.
    stop_signals: tuple[tuple[signal.Signals, float], ...]

    def __init__(self, location: Location, account: Account, *, durable: bool) -> None:
        self.location = location
        self.account = account
        self.durable = durable
        self.data = location.data_dir / self.name
        self.pid_file = self.data / self.pid_file_name
        self.socket = location.runtime_dir / self.socket_name
        self.log = location.data_dir / f"{self.name}.log"
        self._lock_path = location.data_dir / f"{self.name}.lock"

    @abstractmethod
    def executable(self) -> Path:
        """The path of the program. Raises EmbeddedServersError if it is not installed."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def prepare_data(self) -> None:
        """Create the data, or check that this version can use it."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server accepts requests on its socket."""

    def ensure(self) -> None:
        """Keep a running server that is ready, else start a new one."""
        if self.is_running() and not self._wait_until_ready(_ADOPT_SECONDS):
            self.send_stop()
            self.wait_for_stop()
        if not self.is_running():
            self._start()

    def is_running(self) -> bool:
        """Whether a process of the server runs."""
        with FileLock(self._lock_path) as lock:
            return not lock.acquire(wait=False)

    def send_stop(self, with_signal: signal.Signals | None = None) -> None:
        """Send a signal, by default the first of `stop_signals`, if the server runs."""
        with suppress(ProcessLookupError, FileNotFoundError, ValueError, IndexError):
            if self.is_running():
                pid = int(self.pid_file.read_text().split()[0])
                os.kill(pid, with_signal or self.stop_signals[0][0])

    def wait_for_stop(self) -> None:
        """Wait for the end of the server. Send the next signal after each timeout."""
        for number, (stop_signal, seconds) in enumerate(self.stop_signals):
            if number:
                self.send_stop(stop_signal)
            if wait_until(lambda: not self.is_running(), seconds):
                return
        raise EmbeddedServersError(f"{self.title} of {self.location.data_dir} does not stop.")

    def run(self, *arguments: str | Path, stdin: str = "") -> None:
        """Run a setup tool of the server under its account, and wait for it."""
        result = subprocess.run(
            arguments, input=stdin, capture_output=True, text=True, **self._popen_arguments()
        )
        if result.returncode:
            raise self._failure("could not be set up", result.stderr or result.stdout)

    def _popen_arguments(self) -> dict[str, Any]:
        return {
            "cwd": self.location.data_dir,
            "env": _ENVIRONMENT,
            **self.account.popen_arguments(),
        }

    def _start(self) -> None:
        self.account.check_reach([self.executable(), self.location.data_dir])
        if not self.durable:
            shutil.rmtree(self.data, ignore_errors=True)
        self.prepare_data()
        # They contain the process ID of a server that ended. Another process can have this ID now.
        for leftover in (self.pid_file, self.socket, Path(f"{self.socket}.lock")):
            leftover.unlink(missing_ok=True)
        with FileLock(self._lock_path) as lock, open(self.log, "wb", opener=open_no_link) as log:
            lock.acquire()
            # The shell exits at once, so that the server is not a child of this process.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fd],
                **self._popen_arguments(),
            )
        if not self._wait_until_ready(_START_SECONDS):
            raise self._failure("did not start", self.log.read_text(errors="replace"))

    def _wait_until_ready(self, seconds: float) -> bool:
        return (
            wait_until(lambda: self.is_ready() or not self.is_running(), seconds)
            and self.is_ready()
        )

    def _failure(self, what: str, output: str) -> EmbeddedServersError:
        lines = [line for line in output.splitlines() if line.strip()] or ["no output"]
        reasons = [line for line in lines if "FATAL" in line or "error:" in line]
        reason = (reasons or lines)[-1].strip().rstrip(".")
        return EmbeddedServersError(
            f"{self.title} {what} in {self.location.data_dir}: {reason} (log file: {self.log})."
        )
