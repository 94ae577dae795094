"""Server processes share what comes in."""

import os
import signal
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.checkouts import eventually
from tests.live import arbiter, serving
from tests.own_postgres import children

CORES = os.sched_getaffinity(0)

pytestmark = pytest.mark.slow


def sockets(pid: int) -> int:
    """How many a process has open."""
    descriptors = Path(f"/proc/{pid}/fd").iterdir()
    return sum(str(one.readlink()).startswith("socket:") for one in descriptors)


@pytest.mark.parametrize("clients", [16, 60])
def test_clients_that_stay_are_spread_over_the_processes(clients: int) -> None:
    with serving(WEB_CONCURRENCY="3") as port, ExitStack() as connected:
        workers = children(arbiter(port))
        assert len(workers) == 3
        # Until what asked whether they are there is closed.
        time.sleep(4)
        before = [sockets(pid) for pid in workers]
        connections = [HTTPConnection("127.0.0.1", port, timeout=10) for _ in range(clients)]
        for connection in connections:
            connected.callback(connection.close)
            connection.connect()
        for connection in connections:
            connection.request("GET", "/live")
        for connection in connections:
            assert connection.getresponse().read()
        have = [sockets(pid) - b for pid, b in zip(workers, before, strict=True)]
        assert sum(have) == clients
        # Evenly, but for those that came in the same moment.
        assert min(have) >= clients / 3 / 2


def cores(port: int) -> list[set[int]]:
    """Those on which each worker of a server may be."""
    return [os.sched_getaffinity(pid) for pid in children(arbiter(port))]


def each_has_its_own(port: int) -> bool:
    return sorted(core for found in cores(port) for core in found) == sorted([*CORES, *CORES])


def killed(worker: int, port: int) -> None:
    os.kill(worker, signal.SIGKILL)
    assert eventually(lambda: worker not in children(arbiter(port)))


def test_workers_keep_to_a_core_each_where_all_cores_get_as_many() -> None:
    with serving(WEB_CONCURRENCY=str(2 * len(CORES))) as port:
        assert eventually(lambda: each_has_its_own(port))
        # Who comes instead of another takes its place.
        for _ in range(2):
            killed(children(arbiter(port))[-1], port)
            assert eventually(lambda: each_has_its_own(port))
    with serving(WEB_CONCURRENCY=str(2 * len(CORES) + 1)) as port:
        assert eventually(lambda: len(cores(port)) == 2 * len(CORES) + 1)
        # They have loaded what they serve by then, which comes after it.
        time.sleep(1.0)
        assert all(found == CORES for found in cores(port))
