"""The parent process of `up`, which is make under `make run`."""

import os
import signal
from pathlib import Path


class Parent:
    """A parent process. `up` stops when it ends.

    make forwards SIGTERM, and Ctrl-C in a terminal is sent to the whole process group. A make that receives
    SIGINT alone does not forward it: it restores the default handler and waits for its child. On Linux,
    /proc shows this.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._caught_interrupts = _catches_interrupts(pid)

    def is_ending(self) -> bool:
        """Whether it has ended, or waits for this process to end."""
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


def terminate_after_stdin(process_id: int) -> None:
    """Wait until standard input ends, and send SIGTERM to the process.

    The pipe ends with the process that started this one, also if it is killed.
    """
    while os.read(0, 1024):
        pass
    os.kill(process_id, signal.SIGTERM)
