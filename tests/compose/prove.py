"""Verify docker-compose.yml with a real engine, and print one line per check.

    python3 -m tests.compose.prove [--compose 'docker compose'] [--port 8000] [--skip-tests]

Builds, starts, breaks and removes a fresh clone of the committed tree, in two Compose projects of
its own, including their volumes. The engine provides the images python:3.13-slim, postgres:18, redis:8
and nginx:stable; the ports 80 and 443 are free. Exits with 1 at the first failed check. Requires git, curl,
openssl, bash and Python 3.11.
"""

import argparse
import datetime
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.compose import breaking, image, production, running
from tests.compose.stack import CheckError, Stack, report, run

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def removed_at_end(stack: Stack) -> Iterator[None]:
    """Remove the project at the end. After an error, print its last log lines first."""
    try:
        yield
    except Exception:
        print(stack("logs", "--no-color", "--tail", "40"), file=sys.stderr)
        raise
    finally:
        stack("down", "--volumes", "--remove-orphans")


def verify(compose: tuple[str, ...], address: str, work: Path, *, skip_tests: bool) -> None:
    """Run all checks, in an order in which each finds what it needs."""
    clone = work / "mini-agent-platform"
    run("git", "clone", "--quiet", str(ROOT), str(clone))
    commit = run("git", "rev-parse", "--short=12", "HEAD", cwd=clone)
    report("tree", f"commit {commit}, an unedited fresh clone")
    image.remove_images()
    image.verify_builders(clone)
    stack = Stack(compose, clone, "map-proof", address)
    with removed_at_end(stack):
        running.verify_up(stack)
        image.verify_contents()
        image.verify_settings_errors()
        running.verify_published(stack)
        running.verify_confined(stack)
        running.verify_secrets(stack)
        running.verify_readme(stack, work / "readme")
        running.verify_backup(stack)
        client = breaking.Client(stack, running.verify_manage(stack))
        breaking.verify_redis_outage(client)
        breaking.verify_postgres_outage(client)
        breaking.verify_restart_policy(client)
        breaking.verify_restarts(client)
        breaking.verify_data_kept(client)
        breaking.verify_stop(stack)
        if not skip_tests:
            verify_suite(stack)
    with_env = Stack(compose, clone, "map-proof-production", address)
    with removed_at_end(with_env):
        production.verify_production(with_env)


def verify_suite(stack: Stack) -> None:
    """Run the test suite in a container, on the Compose services."""
    started = time.monotonic()
    output = stack("run", "--rm", "tests")
    seconds = time.monotonic() - started
    report(
        "run --rm tests", f"{output.splitlines()[-1].strip('= ')}; {seconds:.0f} s with the build"
    )


def default_compose() -> str:
    try:
        run("docker", "compose", "version")
    except CheckError:
        return "docker-compose"
    return "docker compose"


def main() -> int:
    parser = argparse.ArgumentParser(description="Verify docker-compose.yml with a real engine.")
    parser.add_argument("--compose", help="the command of Compose; the newest by default")
    parser.add_argument(
        "--port", type=int, default=8000, help="the port on which the API is published"
    )
    parser.add_argument("--skip-tests", action="store_true", help="leave out `run --rm tests`")
    options = parser.parse_args()
    compose = tuple(shlex.split(options.compose or default_compose()))
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="map-proof-"))
    try:
        engine = run("docker", "version", "--format", "{{.Server.Version}}")
        report("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"))
        report("engine", f"Docker {engine}, Compose {run(*compose, 'version', '--short')}")
        verify(compose, f"127.0.0.1:{options.port}", work, skip_tests=options.skip_tests)
    except CheckError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    report("all checks", f"passed; {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
