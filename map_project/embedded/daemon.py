"""One server process: started, found again, and stopped, by whichever process of a checkout comes along.

A server inherits a lock file's descriptor and so holds the lock for as long as any process of it lives.
That, not a process id in a file, tells whether it runs: an id may be left over from before a reboot
and belong to somebody else by now.
"""

import os
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

# A database that was killed replays its log first: that may take a while.
_START_SECONDS = 120.0
# A server that somebody else started and that still does not answer after this has lost its sockets.
_ADOPT_SECONDS = 10.0
# Nothing of the caller's environment reaches the servers: PGPORT, for one, would move the socket.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}


class Daemon(ABC):
    """A server of a location. Every call but the constructor needs the location's gate held."""

    title: str
    name: str
    # What asks it to end, politely first, each with the seconds it is given.
    stop_signals: tuple[tuple[signal.Signals, float], ...]

    def __init__(self, location: Location, account: Account, *, durable: bool) -> None:
        self.location = location
        self.account = account
        self.durable = durable
        self.data = location.data_dir / self.name
        self.log = location.data_dir / f"{self.name}.log"

    @property
    @abstractmethod
    def pid_file(self) -> Path:
        """Where the server itself writes its process id."""

    @abstractmethod
    def executable(self) -> Path:
        """Its program; raises EmbeddedServersError where there is none."""

    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def prepare(self) -> None:
        """Make or check the data, and remove what a killed predecessor left."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes work on its socket now."""

    def ensure(self) -> None:
        """Have it running: the one that is there if it answers, else a new one."""
        if self.is_alive() and not self._comes_up(_ADOPT_SECONDS):
            self.ask_to_stop()
            self.await_end()
        if not self.is_alive():
            self._start()

    def is_alive(self) -> bool:
        """Whether any process of it lives."""
        with FileLock(self._lock_path) as lock:
            return not lock.acquire(wait=False)

    def ask_to_stop(self, with_signal: signal.Signals | None = None) -> None:
        """Signal it, if it lives; does not wait."""
        with suppress(ProcessLookupError, FileNotFoundError, ValueError, IndexError):
            if self.is_alive():
                pid = int(self.pid_file.read_text().split()[0])
                os.kill(pid, with_signal or self.stop_signals[0][0])

    def await_end(self) -> None:
        """Wait until it is gone, asking less and less politely."""
        for number, (stop_signal, seconds) in enumerate(self.stop_signals):
            if number:
                self.ask_to_stop(stop_signal)
            if wait_until(lambda: not self.is_alive(), seconds):
                return
        raise EmbeddedServersError(f"{self.title} of {self.location.data_dir} does not stop.")

    def run(self, *arguments: str | Path, stdin: str = "") -> None:
        """Run one of its tools to the end, under its account."""
        result = subprocess.run(
            arguments, input=stdin, capture_output=True, text=True, **self._popen_arguments()
        )
        if result.returncode:
            raise self._failure("could not be set up", result.stderr or result.stdout)

    @property
    def _lock_path(self) -> Path:
        return self.location.data_dir / f"{self.name}.lock"

    def _popen_arguments(self) -> dict[str, Any]:
        return {
            "cwd": self.location.data_dir,
            "env": _ENVIRONMENT,
            **self.account.popen_arguments(),
        }

    def _start(self) -> None:
        self.account.check_reach([self.executable(), self.location.data_dir])
        self.prepare()
        with FileLock(self._lock_path) as lock, open(self.log, "wb", opener=open_no_link) as log:
            lock.acquire()
            # The shell ends at once: the server is nobody's child, whoever of its users ends first.
            subprocess.run(
                ["/bin/sh", "-c", '"$@" &', "sh", *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[lock.fd],
                **self._popen_arguments(),
            )
        if not self._comes_up(_START_SECONDS):
            raise self._failure("did not start", self.log.read_text(errors="replace"))

    def _comes_up(self, seconds: float) -> bool:
        return wait_until(lambda: self.answers() or not self.is_alive(), seconds) and self.answers()

    def _failure(self, what: str, output: str) -> EmbeddedServersError:
        lines = [line for line in output.splitlines() if line.strip()] or ["no output"]
        reasons = [line for line in lines if "FATAL" in line or "error:" in line]
        reason = (reasons or lines)[-1].strip().rstrip(".")
        return EmbeddedServersError(
            f"{self.title} {what} in {self.location.data_dir}: {reason} (its log is {self.log})."
        )
