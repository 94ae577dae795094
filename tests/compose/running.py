"""Checks while all services work."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

from tests.compose.readme import actual_responses, expected_responses
from tests.compose.stack import ONE_SHOTS, SERVERS, CheckError, Stack, check, report, run, wait_for


def verify_up(stack: Stack) -> None:
    """Check that a fresh clone starts and all servers are healthy."""
    seconds = stack.up()
    for service in ONE_SHOTS:
        code = stack.container(service)["State"]["ExitCode"]
        check(code == 0, f"{service} ended with {code}")
    states = f"{', '.join(ONE_SHOTS)} done; {', '.join(SERVERS)} healthy"
    report("up", f"{states}; {seconds:.0f} s with the build")


def verify_published(stack: Stack) -> None:
    """Check that only the API is published, and only on loopback."""
    published = {
        f"{service} {port}": f"{binding['HostIp']}:{binding['HostPort']}"
        for service in SERVERS
        for port, bindings in stack.container(service)["NetworkSettings"]["Ports"].items()
        for binding in bindings or []
    }
    check(published == {"api 8000/tcp": stack.address}, f"published: {published}")
    report("published", f"only the api, on {stack.address}")


def verify_confined(stack: Stack) -> None:
    """Check that the API runs without privileges on a read-only root filesystem."""
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
    report(
        "confined", f"user {user}, read-only root, no capabilities; process 1 is {command.strip()}"
    )


def verify_secrets(stack: Stack) -> None:
    """Check that generated secrets are long, and stored only in their volume."""
    secrets = stack.secrets()
    visible = "".join(json.dumps(stack.container(service)) for service in (*SERVERS, *ONE_SHOTS))
    visible += stack("logs", "--no-color")
    for name, text in secrets.items():
        check(len(text) >= 44, f"{name} is short")
        check(text not in visible, f"{name} is visible in `docker inspect` or the logs")
    changed = run("git", "status", "--porcelain", "--ignored", cwd=stack.folder)
    check(not changed, f"the checkout was changed: {changed}")
    where = "only in their volume, not in docker inspect, the logs or the checkout"
    report("secrets", f"{', '.join(secrets)}: {where}")


def verify_readme(stack: Stack, folder: Path) -> None:
    """Check that the README's curl calls return the documented statuses and fields."""
    page = (stack.folder / "README.md").read_text()
    try:
        actual = actual_responses(page, stack.address, folder)
    except subprocess.CalledProcessError as error:
        raise CheckError(f"README.md: {error.stdout}{error.stderr}") from error
    documented = expected_responses(page)
    check(len(actual) == len(documented) > 0, f"{len(actual)} calls, {len(documented)} documented")
    for number, (response, expected) in enumerate(zip(actual, documented, strict=True), start=1):
        matches = response.status == expected.status and response.fields >= expected.fields
        check(matches, f"README.md, call {number}: {response}, not {expected}")
    counts = sorted(Counter(response.status for response in actual).items())
    statuses = ", ".join(f"{number} x {status}" for status, number in counts)
    report("README", f"{len(actual)} curl calls with the documented responses: {statuses}")


def verify_backup(stack: Stack) -> None:
    """Check the commands for Compose in docs/operate.md."""
    page = (stack.folder / "docs" / "operate.md").read_text()
    blocks = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    (lines,) = [block for block in blocks if "pg_restore" in block]
    stack.shell(lines)
    (stack.folder / "map.dump").unlink()
    count = "SELECT count(*) FROM executions_execution"
    psql = ("exec", "-T", "postgres", "psql", "-U", "map", "-Atc", count, "-d")
    original, restored = (int(stack(*psql, name)) for name in ("map", "map_restored"))
    check(original == restored > 0, f"{original} executions, restored {restored}")
    report("backup and restore", f"as in docs/operate.md; {restored} executions in the copy")


def verify_manage(stack: Stack) -> str:
    """Check an operator's commands in the running container. Return the key of a new tenant."""
    tenant = stack.execute("manage", "create_tenant", "Proof", "--rate-limit", "100000")
    key, spare = (stack.execute("manage", "create_api_key", tenant) for _ in range(2))
    check(re.fullmatch(r"map_[A-Za-z0-9_-]{43}", key) is not None, f"the key is {key}")
    stack.call("GET", "/api/v1/tools", key=spare).expect(200, "a new key")
    stack.execute("manage", "revoke_api_key", spare[:12])
    wait_for(
        "a revoked key to be rejected",
        lambda: stack.call("GET", "/api/v1/tools", key=spare).status == 401,
        seconds=2,
    )
    report("manage", "created a tenant with two keys in the running container; one revoked: 401")
    return key
