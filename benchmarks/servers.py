"""The servers of the platform and the peer, with the same number of processes, on loopback."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.databases import environment
from benchmarks.errors import BenchError

_CHECKOUT = Path(__file__).parent.parent
_PEER = Path(__file__).parent / "peer"
_LITELLM = Path(__file__).parent / "litellm"
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Server:
    """A running server."""

    name: str
    url: str
    pid: int


@contextmanager
def platform(database_url: str, redis_url: str, log: Path) -> Iterator[Server]:
    """Run the platform as `make run` does (`python -m map_project.server`), with its log in a file."""
    port = _free_port()
    address = {"HOST": "127.0.0.1", "PORT": str(port)}
    command = [sys.executable, "-m", "map_project.server"]
    env = environment(database_url, redis_url) | address
    url = f"http://127.0.0.1:{port}"
    with _running(command, folder=_CHECKOUT, env=env, health=f"{url}/ready", log=log) as pid:
        yield Server("platform", url, pid)


@contextmanager
def peer(database_url: str, redis_url: str, log: Path, venv_dir: Path) -> Iterator[Server]:
    """Run the peer under uvicorn with uvloop, httptools and no access log."""
    port = _free_port()
    options = {"host": "127.0.0.1", "port": str(port), "workers": str(server_processes())}
    options |= {"loop": "uvloop", "http": "httptools", "log-level": "warning"}
    command = [str(_installed(_PEER, venv_dir)), "-m", "uvicorn", "app.main:app", "--no-access-log"]
    command += [f"--{name}={value}" for name, value in options.items()]
    env = os.environ | {
        "DATABASE_URL": database_url.replace("postgresql://", "postgresql+asyncpg://"),
        "REDIS_URL": redis_url,
    }
    url = f"http://127.0.0.1:{port}"
    with _running(command, folder=_PEER, env=env, health=f"{url}/health", log=log) as pid:
        yield Server("peer", url, pid)


@contextmanager
def litellm(provider_url: str, model: str, key: str, log: Path, venv_dir: Path) -> Iterator[Server]:
    """Run the proxy of LiteLLM with one model, which is that of the provider, and without a database."""
    config = log.with_suffix(".json")
    parameters = {"model": f"openai/{model}", "api_base": provider_url, "api_key": "none"}
    settings = {
        "model_list": [{"model_name": model, "litellm_params": parameters}],
        "general_settings": {"master_key": key},
    }
    config.write_text(json.dumps(settings))
    port = _free_port()
    python = _installed(_LITELLM, venv_dir)
    command = [str(python.parent / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", str(server_processes())]
    # Otherwise it requests its table of prices from the internet.
    env = os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    env |= {"PYTHONWARNINGS": "ignore"}
    env.pop("DATABASE_URL", None)
    url = f"http://127.0.0.1:{port}"
    health = f"{url}/health/liveliness"
    with _running(command, folder=venv_dir, env=env, health=health, log=log) as pid:
        yield Server("litellm", url, pid)


def server_processes() -> int:
    """Return the number of processes per side: WEB_CONCURRENCY, or the platform's default."""
    return int(os.environ.get("WEB_CONCURRENCY") or 2)


def _installed(folder: Path, venv_dir: Path) -> Path:
    """Return the Python of an environment, and install the lock file of the folder if it has changed."""
    lock, installed = folder / "requirements.txt", venv_dir / "requirements.txt"
    python = venv_dir / "bin" / "python"
    if not installed.exists() or installed.read_bytes() != lock.read_bytes():
        print(f"Installing {lock} into {venv_dir} ...", file=sys.stderr, flush=True)
        venv.create(venv_dir, clear=True, with_pip=True)
        pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        locked = ["--no-deps", "--require-hashes", "--only-binary=:all:", f"--requirement={lock}"]
        if subprocess.run([*pip, *locked]).returncode:
            raise BenchError(f"{lock} could not be installed: see above.")
        installed.write_bytes(lock.read_bytes())
    return python


@contextmanager
def _running(
    command: list[str], *, folder: Path, env: dict[str, str], health: str, log: Path
) -> Iterator[int]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        _wait_until_healthy(process, health, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_healthy(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    raise BenchError(f"A server did not start: see {log}.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
