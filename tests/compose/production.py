"""Checks of a production configuration: an .env made from deploy/env.example."""

import http.client
import json
import ssl
import subprocess
from collections.abc import Callable

from tests.compose.stack import SERVERS, Stack, check, report, wait_for

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
    _write_certificate(stack)
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
    _verify_tls(stack, key)


def _verify_tls(stack: Stack, key: str) -> None:
    """Check the proxy of the profile `tls`."""
    context = ssl.create_default_context(cafile=stack.folder / "deploy/certificates/fullchain.pem")
    # The certificate is for HOST, and the ports are on this machine.
    context.check_hostname = False
    headers = {"Host": HOST, "X-API-KEY": key, "X-Forwarded-Proto": "http"}

    def response() -> http.client.HTTPResponse:
        connection = http.client.HTTPSConnection("127.0.0.1", context=context, timeout=10)
        connection.request("GET", "/api/v1/tools", headers=headers)
        return connection.getresponse()

    status, _ = wait_for("a response over TLS", lambda: _status(response), seconds=30)
    check(status == 200, f"over TLS: {status}")
    hsts = response().headers["Strict-Transport-Security"]
    check(hsts == "max-age=31536000", f"HSTS: {hsts}")
    plain = http.client.HTTPConnection("127.0.0.1", timeout=10)
    plain.request("GET", "/api/v1/tools", headers=headers)
    check(plain.getresponse().status == 308, "HTTP is not redirected")
    # A new container of the API has another address.
    stack("up", "-d", "--force-recreate", "--no-deps", "api")
    stack.wait_until_healthy("api")
    wait_for("a response over TLS", lambda: _status(response) == 200, seconds=30)
    report("profile tls", f"over TLS 200 with HSTS {hsts}, HTTP 308; 200 with a new api container")


def _status(response: Callable[[], http.client.HTTPResponse]) -> int:
    """Return the status, or 0 without a response."""
    try:
        return response().status
    except (OSError, http.client.HTTPException):
        return 0


def _write_certificate(stack: Stack) -> None:
    folder = stack.folder / "deploy" / "certificates"
    folder.mkdir()
    options = ("-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", f"/CN={HOST}")
    files = ("-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem")
    subprocess.run(["openssl", "req", "-x509", *options, *files], check=True, capture_output=True)


def _write_env(stack: Stack) -> None:
    values = SECRETS | {"ALLOWED_HOSTS": HOST}
    lines = (stack.folder / "deploy" / "env.example").read_text().splitlines()
    for number, line in enumerate(lines):
        name = line.partition("=")[0]
        if name in values:
            lines[number] = f"{name}='{values.pop(name)}'"
    lines.append("COMPOSE_PROFILES=tls")
    check(not values, f"deploy/env.example has no line for {', '.join(values)}")
    (stack.folder / ".env").write_text("\n".join(lines) + "\n")
