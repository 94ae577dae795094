"""The memory of the platform's web processes after the load."""

from benchmarks.processes import Family, Memory, memory
from benchmarks.servers import Server

MEGABYTES_AT_MOST = 150.0


def web_processes(server: Server) -> list[Memory]:
    """Return the memory of each of the server's workers."""
    return [memory(pid) for pid in Family((server.pid,)).members() if pid != server.pid]


def small_enough(processes: list[Memory]) -> bool:
    """Return whether the resident memory of each is within its bar."""
    return all(process.rss_mb <= MEGABYTES_AT_MOST for process in processes)
