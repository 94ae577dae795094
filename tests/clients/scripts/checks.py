"""What the scripts share. They run in an environment of their own, without this project (`tests.clients`)."""

import asyncio
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from typing import Any

URL, KEY, MODEL, TWO_TOOLS = (
    os.environ[name] for name in ("MAP_URL", "MAP_KEY", "MAP_MODEL", "MAP_TWO_TOOLS")
)
START = "[Mock Response] "


def run(names: Mapping[str, Any]) -> None:
    """Call each function whose name begins with `check_`, and exit with the number of failures.

    All have one event loop, which the clients need until they are closed.
    """
    checks: list[Callable[[], Any]] = [
        value for name, value in names.items() if name.startswith("check_")
    ]
    failures = asyncio.run(_failures(checks))
    print(f"{len(checks) - failures} passed")
    sys.exit(failures)


async def _failures(checks: list[Callable[[], Any]]) -> int:
    failures = 0
    for check in checks:
        try:
            result = check()
            if inspect.isawaitable(result):
                await result
        except Exception:
            failures += 1
            print(f"{check.__name__} failed", flush=True)
            traceback.print_exc(file=sys.stdout)
    return failures
