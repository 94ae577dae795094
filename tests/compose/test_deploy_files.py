"""Tests of the deployment's files that need no container engine. prove.py does the others."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from django.conf import settings as django_settings

from map_project.environment import env_keys
from tests.compose.readme import (
    SHELLS,
    Response,
    actual_responses,
    expected_responses,
    shell_blocks,
)

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def environment(**variables: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], **variables}


def python(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DEPLOY / script), *arguments]
    return subprocess.run(command, env=environment(**variables), capture_output=True, text=True)


# --- env.example


COMPOSE = (ROOT / "docker-compose.yml").read_text()


def test_compose_passes_on_every_setting() -> None:
    settings = (ROOT / "map_project" / "settings.py").read_text()
    variables = set(re.findall(r"\benv_[a-z]+\(\s*\"([A-Z_]+)\"", settings))
    assert {"SECRET_KEY", "WEB_CONNECTIONS"} < variables
    # The image sets the address to listen on and has static files. DEBUG is not for production.
    assert variables - {"HOST", "PORT", "DEBUG", "STATIC_ROOT"} <= set(
        re.findall(r"^ +([A-Z_]+):", COMPOSE, re.MULTILINE)
    )


def test_env_example_documents_what_compose_reads() -> None:
    passed_on = re.findall(r"^ +([A-Z_]+):$", COMPOSE, re.MULTILINE)
    example = (DEPLOY / "env.example").read_text()
    documented = set(re.findall(r"^(?:# )?([A-Z_]+)=", example, re.MULTILINE))
    used = {*passed_on, *re.findall(r"\$\{([A-Z_]+)", COMPOSE)}
    # Compose itself reads it.
    assert documented == used | {"COMPOSE_PROFILES"}


def test_unchanged_env_example_creates_no_demo_tenants_and_no_known_secret() -> None:
    lines = (DEPLOY / "env.example").read_text().splitlines()
    active = [line for line in lines if line and not line.startswith("#")]
    assert active[0] == "DEMO=0"
    assert {"SECRET_KEY=", "POSTGRES_PASSWORD="} <= set(active)


def example_defaults() -> dict[str, str]:
    """The values of the lines that begin with one # and a name: they are the defaults."""
    example = (DEPLOY / "env.example").read_text()
    found = dict(re.findall(r"^# ([A-Z_]+)=(.*)$", example, re.MULTILINE))
    del found["COMPOSE_PROFILES"]  # an example, without a default
    del found["OTEL_EXPORTER_OTLP_HEADERS"]  # read by the SDK of OpenTelemetry
    return found


@pytest.mark.parametrize("name", example_defaults())
def test_a_default_in_env_example_is_the_default_of_the_code(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    value = example_defaults()[name]
    in_compose = re.search(rf"\$\{{{name}:-([^}}]*)\}}", COMPOSE)
    if in_compose:
        assert in_compose[1] == value
        return
    for variable in example_defaults():
        monkeypatch.delenv(variable, raising=False)
    required = {"SECRET_KEY": "x" * 50, "DATABASE_URL": "postgres://h/d", "REDIS_URL": "redis://h"}
    for variable, text in {**required, "HTTPS": "1"}.items():
        monkeypatch.setenv(variable, text)
    default = runpy.run_path(str(ROOT / "map_project" / "settings.py"))[name]
    monkeypatch.setenv(name, value)
    assert runpy.run_path(str(ROOT / "map_project" / "settings.py"))[name] == default


def test_the_statement_timeout_has_one_value() -> None:
    assert example_defaults()["STATEMENT_TIMEOUT_MS"] == "1200"


# --- nginx.conf


def test_the_limits_of_the_proxy_are_higher_than_those_of_the_api() -> None:
    conf = (DEPLOY / "nginx.conf").read_text()
    settings = (ROOT / "map_project" / "settings.py").read_text()
    (longest_run,) = re.findall(r'env_int\("RUN_TIMEOUT_SECONDS",.* maximum=([0-9_]+)\)', settings)
    (read_seconds,) = re.findall(r"proxy_read_timeout (\d+)s;", conf)
    assert int(read_seconds) > int(longest_run)
    (mebibytes,) = re.findall(r"client_max_body_size (\d+)m;", conf)
    assert int(mebibytes) * 1024**2 > django_settings.MAX_BODY_BYTES


# --- make_secrets.py


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in directory.iterdir()}


def test_secrets_are_generated_once(tmp_path: Path) -> None:
    python("make_secrets.py", str(tmp_path)).check_returncode()
    generated = contents(tmp_path)
    python("make_secrets.py", str(tmp_path)).check_returncode()
    assert contents(tmp_path) == generated
    assert generated.keys() == {"SECRET_KEY", "SECRETS_KEYS", "POSTGRES_PASSWORD"}
    assert len(set(generated.values())) == 3
    assert all(len(text) >= 44 for text in generated.values())
    assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.iterdir())


def test_a_given_secret_is_written_and_kept(tmp_path: Path) -> None:
    python("make_secrets.py", str(tmp_path)).check_returncode()
    generated = contents(tmp_path)
    given = python("make_secrets.py", str(tmp_path), SECRET_KEY="given", POSTGRES_PASSWORD="")
    python("make_secrets.py", str(tmp_path)).check_returncode()
    assert contents(tmp_path) == generated | {"SECRET_KEY": "given"}
    assert not any(text in given.stdout for text in contents(tmp_path).values())


def test_a_generated_key_is_valid_for_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python("make_secrets.py", str(tmp_path)).check_returncode()
    monkeypatch.setenv("SECRETS_KEYS", contents(tmp_path)["SECRETS_KEYS"])
    assert env_keys("SECRETS_KEYS") == [contents(tmp_path)["SECRETS_KEYS"]]


def test_fallbacks_are_kept_only_while_they_are_given(tmp_path: Path) -> None:
    python("make_secrets.py", str(tmp_path), SECRET_KEY_FALLBACKS="a b").check_returncode()
    assert contents(tmp_path)["SECRET_KEY_FALLBACKS"] == "a b"
    python("make_secrets.py", str(tmp_path)).check_returncode()
    assert "SECRET_KEY_FALLBACKS" not in contents(tmp_path)


# --- entrypoint.sh


def through_entrypoint(directory: Path, *command: str, **variables: str) -> list[str]:
    result = subprocess.run(
        ["sh", str(DEPLOY / "entrypoint.sh"), *command],
        env=environment(SECRETS_DIR=str(directory), **variables),
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.splitlines()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    (tmp_path / "SECRET_KEY").write_text("a $(secret) 'with' \"all\" `that`")
    (tmp_path / "POSTGRES_PASSWORD").write_text("p@ss:w/rd")
    return tmp_path


def test_entrypoint_exports_the_secrets(secrets: Path) -> None:
    output = through_entrypoint(secrets, "env")
    assert "SECRET_KEY=a $(secret) 'with' \"all\" `that`" in output
    assert "PGPASSWORD=p@ss:w/rd" in output


def test_the_environment_has_precedence_over_the_volume(secrets: Path) -> None:
    output = through_entrypoint(secrets, "env", SECRET_KEY="from outside", PGPASSWORD="too")
    assert "SECRET_KEY=from outside" in output
    assert "PGPASSWORD=too" in output


def test_entrypoint_executes_the_command(tmp_path: Path) -> None:
    """Also without a volume. The arguments are unchanged."""
    show = "import sys, os; print(os.getppid()); print(sys.argv[1:])"
    missing = tmp_path / "missing"
    parent, arguments = through_entrypoint(missing, sys.executable, "-c", show, "a b", "")
    assert parent == str(os.getpid())
    assert arguments == "['a b', '']"


# --- The image's command


def test_the_image_reports_an_invalid_setting_in_one_sentence(secrets: Path) -> None:
    app, _tests = (ROOT / "Dockerfile").read_text().split("FROM app AS tests")
    (command,) = re.findall(r"^CMD (.+)$", app, re.MULTILINE)
    program, *arguments = json.loads(command)
    assert program == "python"
    values = {"DATABASE_URL": "postgres://h/n", "REDIS_URL": "redis://h", "WEB_CONCURRENCY": "many"}
    result = subprocess.run(
        ["sh", str(DEPLOY / "entrypoint.sh"), sys.executable, *arguments],
        cwd=ROOT,
        env=environment(SECRETS_DIR=str(secrets), SECRET_KEY="k" * 50, **values),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert re.fullmatch(r"WEB_CONCURRENCY must be .+, not 'many'\.\n", result.stderr)


# --- healthcheck.py


@pytest.fixture
def api() -> Iterator[HTTPServer]:
    """Run a stub of the API with one allowed host: 200 for `name.example`, 400 for others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            accepted = self.headers["Host"] == "name.example" and self.path == "/ready"
            self.send_response(200 if accepted else 400)
            self.end_headers()
            self.wfile.write(b'{"path": null}')

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_healthy(api: HTTPServer) -> None:
    result = python("healthcheck.py", PORT=str(api.server_port), ALLOWED_HOSTS=".name.example,b")
    assert result.returncode == 0, result.stdout


def test_unhealthy_with_another_status(api: HTTPServer) -> None:
    result = python("healthcheck.py", PORT=str(api.server_port))
    assert (result.returncode, result.stdout.split()[0]) == (1, "400")


def test_unhealthy_without_a_response(unused_port: int) -> None:
    result = python("healthcheck.py", PORT=str(unused_port))
    assert result.returncode == 1
    assert "Traceback" not in result.stderr


@pytest.fixture
def unused_port() -> int:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_port


@pytest.mark.parametrize(
    ("hosts", "host"),
    [
        ("", "localhost"),
        ("*", "localhost"),
        ("api.example.com, b.example.com", "api.example.com"),
        (".example.com", "example.com"),
    ],
)
def test_own_host(hosts: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", hosts)
    assert runpy.run_path(str(DEPLOY / "healthcheck.py"))["own_host"]() == host


# --- readme.py

PAGE = """
```bash
make run
```
```python
curl()
```
```sh
BASE=${BASE:-http://127.0.0.1:1}
response=$(curl -s "$BASE/ready?x=1")
echo "$response"
curl -s "$BASE/gone"
```

- `200` `status`
  `checks`
- `204`
- `make run`
"""


def test_shell_blocks_in_order() -> None:
    first_lines = [block.splitlines()[0] for block in shell_blocks(PAGE)]
    assert first_lines == ["make run", "BASE=${BASE:-http://127.0.0.1:1}"]


def test_expected_responses() -> None:
    assert expected_responses(PAGE) == [
        Response(200, frozenset({"status", "checks"})),
        Response(204, frozenset()),
    ]


needs_shell = pytest.mark.parametrize(
    "shell",
    [
        pytest.param(
            shell, marks=pytest.mark.skipif(not shutil.which(shell), reason="not installed")
        )
        for shell in SHELLS
    ],
)


@needs_shell
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_curl_blocks_are_run_against_the_address(
    api: HTTPServer, tmp_path: Path, shell: str
) -> None:
    actual = actual_responses(PAGE, f"127.0.0.1:{api.server_port}", tmp_path, shell=shell)
    assert actual == [Response(400, frozenset({"path"})), Response(400, frozenset({"path"}))]


@needs_shell
@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_a_call_without_a_response_ends_the_script(
    unused_port: int, tmp_path: Path, shell: str
) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        actual_responses(PAGE, f"127.0.0.1:{unused_port}", tmp_path, shell=shell)


@needs_shell
@pytest.mark.parametrize("command", ["# a comment", "curl -s $BASE/x?y=1"])
def test_a_command_that_fails_when_pasted_into_zsh_ends_the_script(
    api: HTTPServer, tmp_path: Path, shell: str, command: str
) -> None:
    def run() -> None:
        page = PAGE.replace("echo", f"{command}\necho")
        actual_responses(page, f"127.0.0.1:{api.server_port}", tmp_path, shell=shell)

    if shell == "zsh":
        with pytest.raises(subprocess.CalledProcessError):
            run()
    else:
        run()
