"""What is proved of the services while all of them are well."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

from tests.compose.readme import promised, replies
from tests.compose.stack import ONE_SHOTS, SERVERS, ProofError, Stack, check, run, say, wait_for


def prove_up(stack: Stack) -> None:
    """A fresh clone comes up, everything healthy."""
    seconds = stack.up()
    for service in ONE_SHOTS:
        code = stack.container(service)["State"]["ExitCode"]
        check(code == 0, f"{service} ended with {code}")
    done = f"{', '.join(ONE_SHOTS)} done; {', '.join(SERVERS)} healthy"
    say("up", f"{done}; {seconds:.0f} s with the build")


def prove_published(stack: Stack) -> None:
    """Only the API can be reached from outside, and on loopback alone."""
    published = {
        f"{service} {port}": f"{binding['HostIp']}:{binding['HostPort']}"
        for service in SERVERS
        for port, bindings in stack.container(service)["NetworkSettings"]["Ports"].items()
        for binding in bindings or []
    }
    check(published == {"api 8000/tcp": stack.address}, f"published: {published}")
    say("published", f"the api alone, on {stack.address}")


def prove_confined(stack: Stack) -> None:
    """An unprivileged user on a root filesystem that cannot be written."""
    check(stack.container("api")["HostConfig"]["ReadonlyRootfs"], "the root is not read-only")
    user = int(stack.execute("id", "-u"))
    check(user != 0, "the api runs as root")
    for folder in ("/app", "/opt/venv", "/etc", "/run/map"):
        written = stack.execute("sh", "-c", f"touch {folder}/x 2>/dev/null && echo yes || echo no")
        check(written == "no", f"the api can write to {folder}")
    command = stack.execute("sh", "-c", "tr '\\0' ' ' </proc/1/cmdline")
    check(command.strip() == "python -m map_project.server", f"process 1 is {command}")
    capabilities = stack.execute("grep", "CapEff", "/proc/1/status").split()[1]
    check(int(capabilities, 16) == 0, f"capabilities: {capabilities}")
    say("confined", f"user {user}, read-only root, no capabilities; process 1 is {command.strip()}")


def prove_secrets(stack: Stack) -> None:
    """Made at random, and to be seen nowhere but in their volume."""
    secrets = stack.secrets()
    seen = "".join(json.dumps(stack.container(service)) for service in (*SERVERS, *ONE_SHOTS))
    seen += stack("logs", "--no-color")
    for name, text in secrets.items():
        check(len(text) >= 44, f"{name} is short")
        check(text not in seen, f"{name} can be read in `docker inspect` or the logs")
    changed = run("git", "status", "--porcelain", "--ignored", cwd=stack.folder)
    check(not changed, f"the checkout was changed: {changed}")
    where = "in their volume alone, not in docker inspect, the logs or the checkout"
    say("secrets", f"{', '.join(secrets)}: {where}")


def prove_readme(stack: Stack, folder: Path) -> None:
    """The README's curl lines, in its order, with the statuses and fields that it promises."""
    page = (stack.folder / "README.md").read_text()
    try:
        seen = replies(page, stack.address, folder)
    except subprocess.CalledProcessError as error:
        raise ProofError(f"README.md: {error.stdout}{error.stderr}") from error
    wanted = promised(page)
    check(len(seen) == len(wanted) > 0, f"{len(seen)} calls, {len(wanted)} promises")
    for number, (reply, promise) in enumerate(zip(seen, wanted, strict=True), start=1):
        as_promised = reply.status == promise.status and reply.fields >= promise.fields
        check(as_promised, f"README.md, call {number}: {reply}, not {promise}")
    statuses = sorted(Counter(reply.status for reply in seen).items())
    told = ", ".join(f"{number} x {status}" for status, number in statuses)
    say("README", f"{len(seen)} curl calls answered as it says: {told}")


def prove_backup(stack: Stack) -> None:
    """The lines for Compose in docs/operating.md."""
    page = (stack.folder / "docs" / "operating.md").read_text()
    blocks = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (lines,) = [block for block in blocks if "pg_restore" in block]
    stack.shell(lines)
    (stack.folder / "map.dump").unlink()
    count = "SELECT count(*) FROM executions_execution"
    psql = ("exec", "-T", "postgres", "psql", "-U", "map", "-Atc", count, "-d")
    original, restored = (int(stack(*psql, name)) for name in ("map", "map_restored"))
    check(original == restored > 0, f"{original} executions, restored {restored}")
    say("backup and restore", f"as docs/operating.md has it; {restored} executions in the copy")


def prove_manage(stack: Stack) -> str:
    """An operator's commands in the running container; returns the key of a tenant made there."""
    tenant = stack.execute("manage", "create_tenant", "Proof", "--rate-limit", "100000")
    key, spare = (stack.execute("manage", "create_api_key", tenant) for _ in range(2))
    check(re.fullmatch(r"map_[A-Za-z0-9_-]{43}", key) is not None, f"the key is {key}")
    stack.call("GET", "/api/v1/tools", key=spare).of(200, "a new key")
    stack.execute("manage", "revoke_api_key", spare[:12])
    wait_for(
        "a revoked key to be refused",
        lambda: stack.call("GET", "/api/v1/tools", key=spare).status == 401,
        seconds=2,
    )
    say("manage", "a tenant with two keys made in the running container; one revoked: 401")
    return key
