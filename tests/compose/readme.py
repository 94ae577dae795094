"""The shell blocks of a Markdown page, and a way to run those with curl against any address."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^```(?:bash|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Stands before the real curl on the PATH, so that a curl inside $(...) or xargs is seen too: notes
# the first status line and the URL of every call.
_CURL = """#!/bin/sh
headers=$(mktemp "{folder}/headers.XXXXXX")
"{curl}" -D "$headers" "$@"
code=$?
for url in "$@"; do case $url in http://*|localhost*|127.*) break ;; esac; done
echo "$(awk 'NR == 1 {{ print $2 }}' "$headers") $url" >>"{folder}/calls"
exit $code
"""


@dataclass(frozen=True)
class Call:
    """One curl call: the status that came back (0 when nothing did) and the URL."""

    status: int
    url: str


def shell_blocks(page: str) -> list[str]:
    """The ```bash and ```sh blocks of a page, in its order."""
    return _FENCE.findall(page)


def run_curl_blocks(page: str, address: str, folder: Path) -> tuple[list[Call], str]:
    """Run the blocks that have a curl, in order and in one shell, with `localhost:8000` read as
    `address`; `folder` takes the notes.

    Returns the calls and everything printed. Raises CalledProcessError when the shell ends badly.
    """
    blocks = [block for block in shell_blocks(page) if re.search(r"\bcurl\b", block)]
    script = "\n".join(blocks).replace("localhost:8000", address)
    wrapper = folder / "bin" / "curl"
    wrapper.parent.mkdir(parents=True)
    wrapper.write_text(_CURL.format(folder=folder, curl=shutil.which("curl")))
    wrapper.chmod(0o755)
    notes = folder / "calls"
    notes.touch()
    shell = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env={**os.environ, "PATH": f"{wrapper.parent}:{os.environ['PATH']}"},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
        timeout=300,
    )
    return [_call(line) for line in notes.read_text().splitlines()], shell.stdout


def _call(line: str) -> Call:
    status, _, url = line.partition(" ")
    return Call(int(status or 0), url)
