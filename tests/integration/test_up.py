"""`up`, `make run` and `manage.py` in a separate checkout: start, end and errors."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest

from map_project.embedded import location
from tests.checkouts import checkout, eventually, is_running, manage, process, server_pids
from tests.live import free_port

# An idle machine with two cores needs less than 1 s, and the goal is 5 s; a busy machine may need more.
_SECOND_START_SECONDS = 15.0

requires_make = pytest.mark.skipif(
    not (Path(sys.prefix) / "dev.txt").exists() or shutil.which("make") is None,
    reason="`make` would install into this environment",
)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Create one checkout for all tests, so that its database is created once."""
    with checkout() as path:
        yield path


@pytest.fixture
def port() -> str:
    return str(free_port())


Process = AbstractContextManager["subprocess.Popen[str]"]


def up(folder: Path, port: str, *options: str, **changes: str) -> Process:
    return process(sys.executable, "manage.py", "up", *options, cwd=folder, PORT=port, **changes)


def make_run(folder: Path, port: str) -> Process:
    return process("make", "run", f"VENV={sys.prefix}", cwd=folder, PORT=port)


def is_healthy(port: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            body: dict[str, object] = json.load(response)
            return bool(body["status"])
    except (OSError, urllib.error.URLError):
        return False


def wait_until_healthy(port: str, seconds: float = 60.0) -> None:
    assert eventually(lambda: is_healthy(port), seconds), "the server did not become healthy"


def wait_until_serving(child: "subprocess.Popen[str]") -> None:
    """Wait until this process serves. A predecessor that is ending may still respond on its port."""
    assert child.stdout
    assert any("serves on" in line for line in child.stdout), "the process did not serve"


@dataclass
class Serving:
    """A running `up`."""

    child: "subprocess.Popen[str]"
    port: str


def output_of(child: "subprocess.Popen[str]") -> str:
    output, _ = child.communicate(timeout=180)
    return output


def assert_nothing_runs(folder: Path, pids: dict[str, int], port: str) -> None:
    assert not any(map(is_running, pids.values()))
    assert server_pids(location(folder)) == {}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)), timeout=2)


def test_it_serves_keeps_its_data_and_stops(folder: Path, port: str) -> None:
    with up(folder, port) as first:
        wait_until_healthy(port)
        pids = server_pids(location(folder))
        secret = (folder / ".map" / "dev" / "secret_key").read_text()
        command = ("create_tenant", "a tenant of the first start")
        assert manage(folder, *command, PORT=port).returncode == 0
        assert server_pids(location(folder)) == pids
        first.send_signal(signal.SIGINT)
        output = output_of(first)
    assert first.returncode == 0, output
    assert f"http://127.0.0.1:{port}/docs" in output
    assert "create_operator" in output
    assert "Traceback" not in output
    assert_nothing_runs(folder, pids, port)

    started = time.monotonic()
    with up(folder, port) as second:
        wait_until_healthy(port, _SECOND_START_SECONDS)
        duration = time.monotonic() - started
        assert "must be unique" not in (duplicate := manage(folder, *command, PORT=port)).stdout
        assert duplicate.returncode != 0, "the tenant of the first start was not kept"
        second.send_signal(signal.SIGTERM)
        output = output_of(second)
    assert second.returncode == 0, output
    assert duration < _SECOND_START_SECONDS
    assert (folder / ".map" / "dev" / "secret_key").read_text() == secret


@pytest.fixture(scope="class")
def serving(folder: Path) -> Iterator[Serving]:
    port = str(free_port())
    with up(folder, port) as child:
        wait_until_serving(child)
        yield Serving(child, port)
        child.terminate()
        assert child.wait(timeout=30) == 0


class TestServing:
    """One `up` for several tests."""

    @pytest.mark.skipif(shutil.which("curl") is None, reason="requires curl")
    def test_the_curl_line_it_prints_works(self, serving: Serving) -> None:
        assert serving.child.stdout
        curl = next(line for line in serving.child.stdout if line.strip().startswith("curl "))
        response = subprocess.run(
            ["/bin/sh", "-c", curl], capture_output=True, text=True, timeout=30
        )
        assert "items" in json.loads(response.stdout)

    def test_static_files_are_hashed_and_compressed(self, serving: Serving) -> None:
        base = f"http://127.0.0.1:{serving.port}"
        with urllib.request.urlopen(f"{base}/admin/login/") as response:
            page = response.read().decode()
        path = re.search(r'"(/static/desk/desk\.[0-9a-f]{12}\.css)"', page)
        assert path
        request = urllib.request.Request(base + path[1], headers={"Accept-Encoding": "gzip"})
        with urllib.request.urlopen(request) as response:
            assert response.headers["Content-Encoding"] == "gzip"
            assert response.headers["Cache-Control"] == "max-age=315360000, public, immutable"

    def test_a_second_up_is_an_error(self, folder: Path, serving: Serving) -> None:
        with up(folder, serving.port) as second:
            output = output_of(second)
        assert second.returncode == 1
        assert output.count("\n") == 1
        assert f"process {serving.child.pid}, http://127.0.0.1:{serving.port}" in output
        assert is_healthy(serving.port)


@pytest.mark.slow
def test_a_port_in_use_is_reported_before_anything_starts(folder: Path, port: str) -> None:
    with socket.create_server(("127.0.0.1", int(port))), up(folder, port) as child:
        output = output_of(child)
    assert child.returncode == 1
    assert output.startswith(f"Port {port} of 127.0.0.1 is in use")
    assert output.count("\n") == 1
    assert server_pids(location(folder)) == {}


def test_an_address_of_another_machine_is_an_error(folder: Path, port: str) -> None:
    with up(folder, port, HOST="192.0.2.1") as child:
        output = output_of(child)
    assert child.returncode == 1
    assert output.startswith(f"Cannot serve on 192.0.2.1:{port}")
    assert output.count("\n") == 1


@pytest.mark.parametrize("command", ["up", "check"])
def test_an_invalid_setting_is_reported_in_one_sentence(folder: Path, command: str) -> None:
    result = manage(folder, command, WEB_CONCURRENCY="many")

    assert result.returncode == 1
    assert "WEB_CONCURRENCY" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_command_starts_and_stops_the_servers(folder: Path) -> None:
    result = manage(folder, "migrate", "--verbosity", "0")

    assert result.returncode == 0, result.stderr
    assert server_pids(location(folder)) == {}


def test_help_starts_nothing(folder: Path) -> None:
    with checkout() as fresh:
        assert "up" in manage(fresh, "help").stdout
        assert not (fresh / ".map" / "dev" / "postgres").exists()


def test_addresses_from_the_environment_are_used(folder: Path, port: str) -> None:
    unreachable = {"DATABASE_URL": "postgresql://map@127.0.0.1:1/map", "SECRET_KEY": "x" * 50}
    with up(folder, port, REDIS_URL="redis://127.0.0.1:1", **unreachable) as child:
        output = output_of(child)
    assert child.returncode == 1
    assert "The database does not answer" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_start_after_up_was_killed(folder: Path, port: str) -> None:
    with up(folder, port) as killed:
        wait_until_healthy(port)
        pids = server_pids(location(folder))
        killed.kill()
        killed.wait()
        with up(folder, port) as successor:
            wait_until_serving(successor)
            assert server_pids(location(folder)) == pids
            successor.send_signal(signal.SIGTERM)
            assert successor.wait(timeout=30) == 0
    assert_nothing_runs(folder, pids, port)


@pytest.mark.slow
def test_it_stops_with_the_parent_process(folder: Path, port: str) -> None:
    script = f"{sys.executable} manage.py up --follow-parent $$ & wait"
    with process("/bin/sh", "-c", script, cwd=folder, PORT=port) as shell:
        wait_until_healthy(port)
        pids = server_pids(location(folder))
        shell.kill()
        assert eventually(lambda: not any(map(is_running, pids.values())))
        assert eventually(lambda: not is_healthy(port))


@pytest.mark.slow
def test_a_request_in_progress_finishes_before_the_exit(folder: Path, port: str) -> None:
    with up(folder, port) as child:
        wait_until_healthy(port)
        with socket.create_connection(("127.0.0.1", int(port)), timeout=20) as client:
            client.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n")
            time.sleep(0.3)
            os.killpg(child.pid, signal.SIGINT)
            time.sleep(0.3)
            client.sendall(b"Connection: close\r\n\r\n")
            assert client.recv(64).startswith(b"HTTP/1.1 200")
        assert child.wait(timeout=30) == 0


@pytest.mark.slow
@requires_make
@pytest.mark.parametrize(
    ("target", "number"),
    [("group", signal.SIGINT), ("make", signal.SIGINT), ("make", signal.SIGTERM)],
)
def test_make_run_stops_without_errors(
    folder: Path, port: str, target: str, number: signal.Signals
) -> None:
    with make_run(folder, port) as make:
        wait_until_healthy(port)
        pids = server_pids(location(folder))
        # Ctrl-C in a terminal sends SIGINT to the whole group.
        (os.killpg if target == "group" else os.kill)(make.pid, number)
        output = output_of(make)
    assert "Traceback" not in output
    assert "Error" not in output
    assert_nothing_runs(folder, pids, port)


@pytest.mark.slow
@requires_make
def test_make_run_installs_all_that_it_needs(folder: Path, port: str, tmp_path: Path) -> None:
    """The other tests use the development environment, which has packages that run.txt may lack.

    Variables of the shell that lead pip, Python, Django and libpq elsewhere have no effect.
    """
    elsewhere = {
        name: str(tmp_path / name) for name in ("PIP_TARGET", "PYTHONUSERBASE", "PYTHONHOME")
    }
    others = {"PIP_USER": "1", "PYTHONSAFEPATH": "1", "DJANGO_SETTINGS_MODULE": "other.settings"}
    hosts = {"PGPORT": "1", "PGHOSTADDR": "127.0.0.9"}
    with process("make", "run", cwd=folder, PORT=port, **elsewhere, **others, **hosts) as make:
        wait_until_serving(make)
        wait_until_healthy(port)
        make.send_signal(signal.SIGINT)
        output = output_of(make)
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@requires_make
def test_start_after_make_was_killed(folder: Path, port: str) -> None:
    with make_run(folder, port) as killed:
        wait_until_healthy(port)
        killed.kill()
        with make_run(folder, port) as successor:
            wait_until_serving(successor)
            wait_until_healthy(port)
            os.killpg(successor.pid, signal.SIGINT)
            output_of(successor)
    assert server_pids(location(folder)) == {}


@pytest.mark.slow
@requires_make
def test_start_after_all_processes_were_killed(folder: Path, port: str) -> None:
    with make_run(folder, port) as killed:
        wait_until_healthy(port)
        for pid in server_pids(location(folder)).values():
            os.kill(pid, signal.SIGKILL)
        os.killpg(killed.pid, signal.SIGKILL)
        with make_run(folder, port) as successor:
            wait_until_serving(successor)
            wait_until_healthy(port)
            os.killpg(successor.pid, signal.SIGINT)
            output_of(successor)
    assert server_pids(location(folder)) == {}
