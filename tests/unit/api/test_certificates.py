"""SSL_CERT_FILE and SSL_CERT_DIR, from which OpenSSL reads the certificates that it trusts."""

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from map_project.environment import check_certificates
from tests.certificates import write_certificate
from tests.stub_model import StubModel, completion

TRUNCATED = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
# Prints the response of a model, and how many TLS contexts the process has after it.
_COMPLETE = """
import gc, ssl, sys
import django
django.setup()
from tests.integration.test_providers import complete, request_to
print(complete(request_to(sys.argv[1])).text)
print(sum(isinstance(item, ssl.SSLContext) for item in gc.get_objects()))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "certificates.pem"


@pytest.mark.parametrize("text", ["", "not a certificate", TRUNCATED, "\0\n"])
def test_a_file_without_certificates(
    path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text(text)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ImproperlyConfigured, match=rf"^SSL_CERT_FILE must .*{path}.*none\)\.$"):
        check_certificates()


def test_a_key_instead_of_a_certificate(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_certificate("test", path.with_name("other.pem"), path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    with pytest.raises(ImproperlyConfigured, match=r"^SSL_CERT_FILE must .*none\)\.$"):
        check_certificates()


@pytest.mark.parametrize("folders", ["/nowhere", "/:/nowhere", __file__])
def test_a_missing_folder(folders: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_DIR", folders)
    missing = folders.rpartition(":")[2]
    with pytest.raises(ImproperlyConfigured, match=rf"^SSL_CERT_DIR must .*'{missing}'\.$"):
        check_certificates()


def test_valid_certificates(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_certificate("test", path, path.with_name("key.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    monkeypatch.setenv("SSL_CERT_DIR", f"{path.parent}:{path.parent}:")
    check_certificates()
    assert ssl.create_default_context().cert_store_stats()["x509"] == 1


@pytest.mark.parametrize("empty", ["", " "])
def test_an_empty_variable_is_like_none(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """For OpenSSL, it names a file that does not exist."""
    monkeypatch.setenv("SSL_CERT_FILE", empty)
    monkeypatch.setenv("SSL_CERT_DIR", empty)
    check_certificates()
    assert not {"SSL_CERT_FILE", "SSL_CERT_DIR"} & os.environ.keys()


def test_a_model_at_an_http_url_needs_no_tls(model_server: StubModel) -> None:
    result = subprocess.run(
        [sys.executable, "-c", _COMPLETE, model_server.says(completion()).url],
        cwd=settings.BASE_DIR,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.split() == ["Hello.", "0"]
