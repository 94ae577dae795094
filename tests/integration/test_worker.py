"""Server processes share what comes in."""

import time
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.live import arbiter, serving
from tests.own_postgres import children

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
