"""Proves docker-compose.yml with a real engine, and prints what was seen.

    python3 -m tests.compose.prove [--compose 'docker compose'] [--port 8000] [--skip-tests]

Takes an unedited fresh clone of the committed tree; builds, brings up, breaks and takes down
everything in two projects of its own, whose volumes it removes. The base images python:3.13-slim,
postgres:18 and redis:8 are taken from wherever the engine has them under these names. Ends with 1
as soon as something is not as it must be. Needs git, curl, bash and Python 3.11, nothing else.
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
from tests.compose.stack import ProofError, Stack, run, say

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def taken_down(stack: Stack) -> Iterator[None]:
    """Leaves nothing of the project behind; on a failure its last log lines are printed first."""
    try:
        yield
    except Exception:
        print(stack("logs", "--no-color", "--tail", "40"), file=sys.stderr)
        raise
    finally:
        stack("down", "--volumes", "--remove-orphans")


def prove(compose: tuple[str, ...], address: str, work: Path, *, skip_tests: bool) -> None:
    """Everything, in an order in which each step finds what it needs."""
    clone = work / "mini-agent-platform"
    run("git", "clone", "--quiet", str(ROOT), str(clone))
    commit = run("git", "rev-parse", "--short=12", "HEAD", cwd=clone)
    say("tree", f"commit {commit}, an unedited fresh clone")
    image.forget()
    image.prove_builders(clone)
    stack = Stack(compose, clone, "map-proof", address)
    with taken_down(stack):
        running.prove_up(stack)
        image.prove_contents()
        image.prove_refusals()
        running.prove_published(stack)
        running.prove_confined(stack)
        running.prove_secrets(stack)
        running.prove_readme(stack, work / "readme")
        running.prove_backup(stack)
        client = breaking.Client(stack, running.prove_manage(stack))
        breaking.prove_redis_lost(client)
        breaking.prove_postgres_lost(client)
        breaking.prove_crashes(client)
        breaking.prove_restarts(client)
        breaking.prove_data_stays(client)
        breaking.prove_stop(stack)
        if not skip_tests:
            prove_suite(stack)
    with_env = Stack(compose, clone, "map-proof-production", address)
    with taken_down(with_env):
        production.prove_production(with_env)


def prove_suite(stack: Stack) -> None:
    """The whole suite inside, on the Compose services."""
    started = time.monotonic()
    printed = stack("run", "--rm", "tests")
    seconds = time.monotonic() - started
    say("run --rm tests", f"{printed.splitlines()[-1].strip('= ')}; {seconds:.0f} s with the build")


def newest_compose() -> str:
    try:
        run("docker", "compose", "version")
    except ProofError:
        return "docker-compose"
    return "docker compose"


def main() -> int:
    parser = argparse.ArgumentParser(description="Proves docker-compose.yml with a real engine.")
    parser.add_argument(
        "--compose", help="what stands for Compose; the newest there is unless said"
    )
    parser.add_argument(
        "--port", type=int, default=8000, help="where the API is published meanwhile"
    )
    parser.add_argument("--skip-tests", action="store_true", help="leave out `run --rm tests`")
    options = parser.parse_args()
    compose = tuple(shlex.split(options.compose or newest_compose()))
    started = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix="map-proof-"))
    try:
        engine = run("docker", "version", "--format", "{{.Server.Version}}")
        say("date", datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"))
        say("engine", f"Docker {engine}, Compose {run(*compose, 'version', '--short')}")
        prove(compose, f"127.0.0.1:{options.port}", work, skip_tests=options.skip_tests)
    except ProofError as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(work, ignore_errors=True)
    say("all of it", f"as it must be; {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
