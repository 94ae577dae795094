"""Functions that read and validate environment variables.

They raise ImproperlyConfigured with one sentence that names the variable. Only `map_project.settings` calls
them, except `child_environment`; no other module reads the environment.
"""

import base64
import os
import re
import secrets
import ssl
import tempfile
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from urllib.parse import unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.core.management.utils import get_random_secret_key
from redis.connection import ConnectionPool

_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True}
_BOOLEANS |= {"0": False, "false": False, "no": False, "off": False}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
# Passwords, TLS and Kerberos, not the server or the session.
_LIBPQ_CREDENTIALS = re.compile("PG(PASS|SSL|REQUIRE|CHANNELBINDING|GSS|KRB)")
# The patterns of ALLOWED_HOSTS: `*`, a name, a domain after a dot, or an address.
_HOST = re.compile(r"\*|\.?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\]")


def env_text(name: str, default: str = "") -> str:
    """The variable, or `default` if it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def ignore_libpq_variables(*, keep_credentials: bool) -> None:
    """Remove libpq's environment variables: a connection goes where the settings say, and nowhere else.

    With `keep_credentials`, those remain that only authenticate and encrypt, for what the URL omits.
    """
    for name in [name for name in os.environ if name.startswith("PG")]:
        if not (keep_credentials and _LIBPQ_CREDENTIALS.match(name)):
            del os.environ[name]


def check_certificates() -> None:
    """Check SSL_CERT_FILE and SSL_CERT_DIR. OpenSSL ignores a file that does not exist, and trusts nobody.

    Empty variables are removed: OpenSSL takes them for the name of a file.
    """
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        if not env_text(name):
            os.environ.pop(name, None)
    if (file := os.environ.get("SSL_CERT_FILE")) and (reason := _unusable(file)):
        raise ImproperlyConfigured(
            f"SSL_CERT_FILE must name a file of certificates in PEM format, not {file!r} ({reason})."
        )
    for folder in os.environ.get("SSL_CERT_DIR", "").split(os.pathsep):
        if folder and not Path(folder).is_dir():
            raise ImproperlyConfigured(f"SSL_CERT_DIR must name folders, not {folder!r}.")


def _unusable(file: str) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(file)
    except ssl.SSLError:
        return "it contains none"
    except OSError as error:
        return str(error.strerror)
    return "" if context.cert_store_stats()["x509"] else "it contains none"


def child_environment(**variables: str) -> dict[str, str]:
    """The environment of this process with other values, for a process that it starts."""
    return {**os.environ, **variables}


def env_bool(name: str, default: bool) -> bool:
    """A boolean: 1/true/yes/on or 0/false/no/off, case-insensitive."""
    text = env_text(name)
    if not text:
        return default
    try:
        return _BOOLEANS[text.lower()]
    except KeyError:
        raise ImproperlyConfigured(f"{name} must be 1 or 0, not {text!r}.") from None


def env_int(name: str, default: int, *, minimum: int, maximum: int) -> int:
    """An integer in ASCII digits, within the bounds."""
    text = env_text(name, str(default))
    if not re.fullmatch(r"[0-9]{1,18}", text) or not minimum <= int(text) <= maximum:
        raise ImproperlyConfigured(
            f"{name} must be an integer from {minimum} to {maximum}, not {text!r}."
        )
    return int(text)


def env_host(name: str, default: str) -> str:
    """A host name or an IP address to listen on. Only the syntax is checked."""
    text = env_text(name, default)
    if not re.fullmatch(r"[A-Za-z0-9_.-]+|(?=.*:.*:)[0-9A-Fa-f:.]+", text):
        raise ImproperlyConfigured(f"{name} must be a host name or an address, not {text!r}.")
    return text


def env_hosts(name: str, default: str) -> list[str]:
    """Host names without scheme or port, separated by commas."""
    hosts = [part.strip() for part in env_text(name, default).split(",") if part.strip()]
    if not hosts:
        raise ImproperlyConfigured(f"{name} must name at least one host.")
    for host in hosts:
        if not _HOST.fullmatch(host):
            raise ImproperlyConfigured(
                f"{name} must be host names without scheme or port, not {host!r}."
            )
    return hosts


def env_origins(name: str) -> list[str]:
    """Origins, for example `https://admin.example.com`, separated by commas."""
    origins = [part.strip() for part in env_text(name).split(",") if part.strip()]
    for origin in origins:
        if not re.fullmatch(r"https?://[^/\s]+", origin):
            raise ImproperlyConfigured(
                f"{name} must be origins such as https://admin.example.com, not {origin!r}."
            )
    return origins


def env_url(name: str, schemes: tuple[str, ...], default: Callable[[], str]) -> str:
    """A URL with one of the schemes. `default` is called only if the variable is unset.

    Error messages do not contain the URL, because it can contain a password.
    """
    text = env_text(name)
    if not text:
        return default()
    if not text.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        wanted = " or ".join(f"{scheme}://" for scheme in schemes)
        raise ImproperlyConfigured(f"{name} must be a URL that begins with {wanted}.")
    return text


def env_collector(name: str) -> str:
    """The URL of a collector that implements OTLP/HTTP, without `/v1/traces`; empty if it is unset."""
    url = env_url(name, ("http", "https"), str)
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        is_valid = bool(parts.hostname) and parts.port != 0 and not (parts.query or parts.fragment)
    except ValueError:
        is_valid = False
    if not is_valid:
        raise ImproperlyConfigured(f"{name} is not a valid URL: check its host and port.")
    if env_text("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf") != "http/protobuf":
        raise ImproperlyConfigured("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf.")
    if not _is_installed("opentelemetry.exporter.otlp.proto.http"):
        raise ImproperlyConfigured(
            f"{name} is set, but the packages of the extra `otel` are not installed: see docs/operate.md."
        )
    return url


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a package that contains it
        return False


def redis_url(name: str, url: str) -> str:
    """The URL, if its syntax is valid. No connection is made.

    redis-py uses database 0 if the path is not a number, and reports other errors at the first command.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme != "unix" and not re.fullmatch("/?[0-9]{0,5}", parts.path):
            raise ValueError
        ConnectionPool.from_url(url).make_connection()
    except (ValueError, TypeError):
        raise ImproperlyConfigured(
            f"{name} is not a valid URL: check its port, database and options."
        ) from None
    return url


def postgresql_parameters(name: str, url: str) -> dict[str, str]:
    """Parse a `postgresql://` URL into Django's NAME, USER, PASSWORD, HOST, PORT and connection options.

    As in libpq, the folder of a Unix socket is in the query: `postgresql://user@/name?host=/folder`.
    """
    try:
        parts = urlsplit(url)
        port = str(parts.port or "")
        host = parts.hostname or ""
    except ValueError:
        raise ImproperlyConfigured(f"{name} is not a valid URL: check its host and port.") from None
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if "=" in pair)
    parameters = {
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(query.pop("host", host)),
        "PORT": query.pop("port", port),
    }
    if not parameters["NAME"]:
        raise ImproperlyConfigured(f"{name} must end with the name of a database: /NAME.")
    known = {"sslmode", "sslrootcert", "sslcert", "sslkey", "application_name"}
    if not re.fullmatch("[0-9]{0,5}", parameters["PORT"]):
        raise ImproperlyConfigured(f"{name} is not a valid URL: check its host and port.")
    if query.get("sslmode", "prefer") not in _SSL_MODES:
        modes = ", ".join(_SSL_MODES)
        raise ImproperlyConfigured(f"{name} has an invalid sslmode. Expected one of {modes}.")
    if unknown := sorted(query.keys() - known):
        raise ImproperlyConfigured(f"{name} has an unknown parameter: {unknown[0]}.")
    return parameters | {key: unquote(value) for key, value in query.items()}


def env_keys(name: str) -> list[str]:
    """Fernet keys, separated by commas: 32 bytes each, in URL-safe base64."""
    keys = [part.strip() for part in env_text(name).split(",") if part.strip()]
    for key in keys:
        # Error messages do not contain the key.
        if not re.fullmatch("[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]=", key):
            raise ImproperlyConfigured(
                f"{name} must be keys of 32 bytes in URL-safe base64, separated by commas "
                "(`openssl rand -base64 32 | tr +/ -_` generates one)."
            )
    return keys


def env_networks(name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """IP networks or addresses, for example `10.1.0.0/16` or `fd00:1::/64`, separated by commas."""
    try:
        return tuple(ip_network(part.strip()) for part in env_text(name).split(",") if part.strip())
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} must be networks such as 10.1.0.0/16, separated by commas: {error}."
        ) from None


def random_key() -> str:
    """A random Fernet key."""
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()


def stored_secret(
    name: str, path: Path, generate: Callable[[], str] = get_random_secret_key
) -> str:
    """A random secret for the setting `name`, stored in a file that only its owner can read.

    Processes that start at the same time use the same secret: `os.link` creates the complete file, and fails
    if it exists.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=path.parent) as draft:
                draft.write(generate())
                draft.flush()
                with suppress(FileExistsError):
                    os.link(draft.name, path)
        return path.read_text()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name} is not set, and none can be stored in {path}: {error.strerror}."
        ) from error
