"""What is proved of the same file with an .env made from deploy/env.example."""

import json

from tests.compose.stack import SERVERS, Stack, check, say

HOST = "api.example.com"
# Characters that a shell, a URL or an .env file could stumble over.
SECRETS = {
    "SECRET_KEY": "k" * 60,
    "SECRET_KEY_FALLBACKS": "f" * 60,
    "SECRETS_KEYS": "A" * 43 + "=",
    "POSTGRES_PASSWORD": "p@ss:w/rd %41?#&",
}


def prove_production(stack: Stack) -> None:
    """Given secrets are used, demo keys are unknown, other names are refused."""
    _write_env(stack)
    stack.up()
    check(stack.secrets() == SECRETS, "the given secrets are not in use")
    seen = "".join(json.dumps(stack.container(service)) for service in SERVERS)
    check(not any(text in seen for text in SECRETS.values()), "docker inspect shows a secret")
    tenant = stack.execute("manage", "create_tenant", "First")
    key = stack.execute("manage", "create_api_key", tenant)
    tools = "/api/v1/tools"
    over_tls = {"Host": HOST, "X-Forwarded-Proto": "https"}
    stack.call("GET", tools, key="tenant-a-key", headers=over_tls).of(401, "the demo key")
    stack.call("GET", tools, key=key, headers=over_tls).of(200, "an operator's key")
    elsewhere = over_tls | {"Host": "localhost"}
    stack.call("GET", tools, key=key, headers=elsewhere).of(400, "another Host")
    stack.call("GET", tools, key=key, headers={"Host": HOST}).of(301, "a call without TLS")
    answers = "an operator's key 200, the demo key 401, another Host 400, without TLS 301"
    say("production (.env)", f"healthy; the given secrets in use; {answers}")


def _write_env(stack: Stack) -> None:
    given = SECRETS | {"ALLOWED_HOSTS": HOST}
    lines = (stack.folder / "deploy" / "env.example").read_text().splitlines()
    for number, line in enumerate(lines):
        name = line.partition("=")[0]
        if name in given:
            lines[number] = f"{name}='{given.pop(name)}'"
    check(not given, f"deploy/env.example has no line for {', '.join(given)}")
    (stack.folder / ".env").write_text("\n".join(lines) + "\n")
