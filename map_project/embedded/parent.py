"""The process that started us, watched for its end: under `make run` that is make."""

import os
import signal
from pathlib import Path


class Parent:
    """A parent that we follow.

    make hands SIGTERM on to us, and a terminal's Ctrl-C reaches us by itself. But make that gets a SIGINT
    alone restores the signal's default and then waits for us, who know nothing of it; on Linux that
    can be seen.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._caught_interrupts = _catches_interrupts(pid)

    def is_leaving(self) -> bool:
        """Whether it is gone, or waits for us to go."""
        if os.getppid() != self._pid:
            return True
        return self._caught_interrupts and not _catches_interrupts(self._pid)


def _catches_interrupts(pid: int) -> bool:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:")]
    return any(mask >> (signal.SIGINT - 1) & 1 for mask in masks)
