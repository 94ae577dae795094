"""The shell blocks of a Markdown page, and a way to run those with curl against any address.

A comment above a curl says what must come back, the status and the fields of the body:

    # → 200 items, total, limit, offset, has_more
    curl -s http://127.0.0.1:8000/api/v1/history -H 'X-API-KEY: tenant-a-key'
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?:bash|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PROMISE = re.compile(r"^# → (\d{3})(?: (.+))?$", re.MULTILINE)
_DEFAULT_ADDRESS = re.compile(r"\b(?:localhost|127\.0\.0\.1):8000\b")

# Stands before the real curl on the PATH, so that a curl inside $(...) is seen too. Every call gets
# a folder, numbered, with the answer's headers and body.
_CURL = """#!/bin/sh
number=$(ls "{notes}" | wc -l)
mkdir "{notes}/$number"
"{curl}" -D "{notes}/$number/headers" "$@" >"{notes}/$number/body"
code=$?
cat "{notes}/$number/body"
exit $code
"""


@dataclass(frozen=True)
class Reply:
    """A status (0: no answer) and the names in the body, which is a JSON object or empty."""

    status: int
    fields: frozenset[str]


def shell_blocks(page: str) -> list[str]:
    """The ```bash and ```sh blocks of a page, in its order."""
    return _FENCE.findall(page)


def curl_script(page: str) -> str:
    """The blocks that have a curl, as one script."""
    return "\n".join(block for block in shell_blocks(page) if re.search(r"\bcurl\b", block))


def promised(page: str) -> list[Reply]:
    """What the comments say, in the order of the calls."""
    return [
        Reply(int(status), frozenset(fields.split(", ") if fields else ()))
        for status, fields in _PROMISE.findall(curl_script(page))
    ]


def replies(page: str, address: str, folder: Path) -> list[Reply]:
    """Run the page's curl blocks in one shell, with `address` for 127.0.0.1:8000 and localhost:8000.

    `folder` must be empty, and takes the notes. Raises CalledProcessError when the shell ends badly.
    """
    notes, wrapper = folder / "calls", folder / "bin" / "curl"
    for made in (notes, wrapper.parent):
        made.mkdir(parents=True)
    wrapper.write_text(_CURL.format(notes=notes, curl=shutil.which("curl")))
    wrapper.chmod(0o755)
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", _DEFAULT_ADDRESS.sub(address, curl_script(page))],
        env={**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return [_reply(call) for call in sorted(notes.iterdir(), key=lambda call: int(call.name))]


def _reply(call: Path) -> Reply:
    headers = call / "headers"
    status_line = headers.read_text().split("\n")[0].split() if headers.exists() else []
    status = int(status_line[1]) if len(status_line) > 1 else 0
    text = (call / "body").read_text()
    return Reply(status, frozenset(json.loads(text) if text else ()))
