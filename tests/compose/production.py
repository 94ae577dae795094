"""Checks of a production configuration: an .env made from deploy/env.example."""

import json

from tests.compose.stack import SERVERS, Stack, check, report

HOST = "api.example.com"
# With characters that are special in a shell, a URL or an .env file.
SECRETS = {
    "SECRET_KEY": "k" * 60,
    "SECRET_KEY_FALLBACKS": "f" * 60,
    "SECRETS_KEYS": "A" * 43 + "=",
    "POSTGRES_PASSWORD": "p@ss:w/rd %41?#&",
}


def verify_production(stack: Stack) -> None:
    """Check that given secrets are used, and that demo keys and other hosts are rejected."""
    _write_env(stack)
    stack.up()
    check(stack.secrets() == SECRETS, "the given secrets are not in use")
    inspected = "".join(json.dumps(stack.container(service)) for service in SERVERS)
    check(not any(text in inspected for text in SECRETS.values()), "docker inspect shows a secret")
    tenant = stack.execute("manage", "create_tenant", "First")
    key = stack.execute("manage", "create_api_key", tenant)
    tools = "/api/v1/tools"
    over_tls = {"Host": HOST, "X-Forwarded-Proto": "https"}
    stack.call("GET", tools, key="tenant-a-key", headers=over_tls).expect(401, "the demo key")
    stack.call("GET", tools, key=key, headers=over_tls).expect(200, "an operator's key")
    other_host = over_tls | {"Host": "localhost"}
    stack.call("GET", tools, key=key, headers=other_host).expect(400, "another Host")
    stack.call("GET", tools, key=key, headers={"Host": HOST}).expect(301, "a call without TLS")
    statuses = "an operator's key 200, the demo key 401, another Host 400, without TLS 301"
    report("production (.env)", f"healthy; the given secrets in use; {statuses}")


def _write_env(stack: Stack) -> None:
    values = SECRETS | {"ALLOWED_HOSTS": HOST}
    lines = (stack.folder / "deploy" / "env.example").read_text().splitlines()
    for number, line in enumerate(lines):
        name = line.partition("=")[0]
        if name in values:
            lines[number] = f"{name}='{values.pop(name)}'"
    check(not values, f"deploy/env.example has no line for {', '.join(values)}")
    (stack.folder / ".env").write_text("\n".join(lines) + "\n")
