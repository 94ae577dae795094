"""Find the shell blocks of a Markdown page, and run those with curl against any address.

The commands use the address in `$BASE`. A list after the block of a curl call has the expected status and
fields of each response, in order:

    ```sh
    curl -s "$BASE/api/v1/history" -H 'X-API-KEY: tenant-a-key'
    ```

    - `200` `items` `total` `limit` `offset` `has_more`
"""

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?:bash|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# An item of a list: a status, and fields that can continue on indented lines.
_EXPECTED = re.compile(r"^- `(\d{3})`((?:\s+`\w+`)*)$", re.MULTILINE)

# Interactive, as if the commands were pasted: zsh then runs comments as commands. Without the user's files.
# The shells end at the first command that fails.
SHELLS = {
    "bash": ["bash", "--norc", "--noprofile", "-i", "-euo", "pipefail"],
    "zsh": ["zsh", "-f", "-i", "-euo", "pipefail"],
}

# Precedes curl on the PATH, so that calls inside $(...) are recorded too. Each call gets a numbered
# folder with the headers and the body of the response.
_CURL_WRAPPER = """#!/bin/sh
number=$(ls "{calls}" | wc -l)
mkdir "{calls}/$number"
"{curl}" -D "{calls}/$number/headers" "$@" >"{calls}/$number/body"
code=$?
cat "{calls}/$number/body"
exit $code
"""


@dataclass(frozen=True)
class Response:
    """The status (0: no response) and the fields of the body, which is a JSON object or empty."""

    status: int
    fields: frozenset[str]


def shell_blocks(page: str) -> list[str]:
    """Return the ```bash and ```sh blocks of a page, in order."""
    return _FENCE.findall(page)


def curl_script(page: str) -> str:
    """Return the blocks that use `BASE`, as one script."""
    return "\n".join(block for block in shell_blocks(page) if "BASE" in block)


def expected_responses(page: str) -> list[Response]:
    """Return the expected responses in the order of the calls."""
    return [
        Response(int(status), frozenset(re.findall(r"\w+", fields)))
        for status, fields in _EXPECTED.findall(page)
    ]


def actual_responses(
    page: str, address: str, folder: Path, *, shell: str = "bash"
) -> list[Response]:
    """Run the page's curl blocks in one interactive shell, with the address in `BASE`.

    `folder` must be empty; the responses are stored in it. Raises CalledProcessError if a command fails.
    """
    calls, wrapper = folder / "calls", folder / "bin" / "curl"
    for directory in (calls, wrapper.parent):
        directory.mkdir(parents=True)
    wrapper.write_text(_CURL_WRAPPER.format(calls=calls, curl=shutil.which("curl")))
    wrapper.chmod(0o755)
    path = f"{wrapper.parent}:{os.environ['PATH']}"
    subprocess.run(
        SHELLS[shell],
        input=curl_script(page),
        env={**os.environ, "PATH": path, "BASE": f"http://{address}"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
        start_new_session=True,
    )
    return [_response(call) for call in sorted(calls.iterdir(), key=lambda call: int(call.name))]


def _response(call: Path) -> Response:
    headers = call / "headers"
    status_line = headers.read_text().split("\n")[0].split() if headers.exists() else []
    status = int(status_line[1]) if len(status_line) > 1 else 0
    text = (call / "body").read_text()
    return Response(status, frozenset(json.loads(text) if text else ()))
