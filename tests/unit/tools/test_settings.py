"""The settings of tools and of encryption, as read from the environment."""

import base64
from ipaddress import ip_network
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from map_project.environment import env_keys, env_networks, random_key, stored_secret

KEY = base64.urlsafe_b64encode(b"k" * 32).decode()


@pytest.mark.parametrize(
    ("text", "keys"), [("", []), (KEY, [KEY]), (f" {KEY} ,\n{KEY},", [KEY, KEY])]
)
def test_keys(monkeypatch: pytest.MonkeyPatch, text: str, keys: list[str]) -> None:
    monkeypatch.setenv("SECRETS_KEYS", text)
    assert env_keys("SECRETS_KEYS") == keys


@pytest.mark.parametrize(
    "text", ["secret", KEY[:-1], f"{KEY}=", KEY.replace("a", "+"), f"{KEY} {KEY}", f"{KEY},x"]
)
def test_an_invalid_key_is_a_configuration_error_that_does_not_quote_it(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SECRETS_KEYS", text)
    with pytest.raises(
        ImproperlyConfigured, match=r"SECRETS_KEYS must be keys of 32 bytes"
    ) as error:
        env_keys("SECRETS_KEYS")
    assert text not in str(error.value)


def test_a_key_is_generated_once_and_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = stored_secret("SECRETS_KEYS", tmp_path / "secrets_key", random_key)
    assert stored_secret("SECRETS_KEYS", tmp_path / "secrets_key", random_key) == key
    assert (tmp_path / "secrets_key").stat().st_mode & 0o077 == 0
    monkeypatch.setenv("SECRETS_KEYS", key)
    assert env_keys("SECRETS_KEYS") == [key]


def test_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOOL_ALLOWED_NETWORKS", "10.1.0.0/16, fd00::/64,127.0.0.1")
    assert env_networks("TOOL_ALLOWED_NETWORKS") == (
        ip_network("10.1.0.0/16"),
        ip_network("fd00::/64"),
        ip_network("127.0.0.1/32"),
    )
    monkeypatch.setenv("TOOL_ALLOWED_NETWORKS", "")
    assert env_networks("TOOL_ALLOWED_NETWORKS") == ()


@pytest.mark.parametrize("text", ["10.1.0.1/16", "localhost", "10.0.0.0/8;fd00::/8", "*", "10.0"])
def test_an_invalid_network_is_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("TOOL_ALLOWED_NETWORKS", text)
    with pytest.raises(ImproperlyConfigured, match="TOOL_ALLOWED_NETWORKS must be networks"):
        env_networks("TOOL_ALLOWED_NETWORKS")
