"""Sign-in: the address of the client, and the lock after too many failures."""

import ipaddress
import uuid

import pytest
from axes.models import AccessAttempt
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django.urls import reverse

from map_project.desk.signin import client_address

LOGIN = "/admin/login/"


@pytest.mark.parametrize(
    ("proxies", "forwarded", "remote", "expected"),
    [
        (0, None, "192.0.2.1", "192.0.2.1"),
        (0, "198.51.100.7", "192.0.2.1", "192.0.2.1"),
        (1, "198.51.100.7", "192.0.2.1", "198.51.100.7"),
        (1, "203.0.113.9, 198.51.100.7", "192.0.2.1", "198.51.100.7"),
        (2, "203.0.113.9, 198.51.100.7", "192.0.2.1", "203.0.113.9"),
        (2, "6.6.6.6, 203.0.113.9, 198.51.100.7", "192.0.2.1", "203.0.113.9"),
        (2, "198.51.100.7", "192.0.2.1", "192.0.2.1"),
        (1, None, "192.0.2.1", "192.0.2.1"),
        (1, "unknown", "192.0.2.1", None),
        (0, None, "", None),
        (0, None, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        (1, "[2001:db8:1:2::9]", "::1", "2001:db8:1:2::"),
        (0, None, "::ffff:192.0.2.1", "192.0.2.1"),
    ],
)
def test_the_clients_address(
    settings: LazySettings,
    proxies: int,
    forwarded: str | None,
    remote: str,
    expected: str | None,
) -> None:
    settings.TRUSTED_PROXIES = proxies
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    request = RequestFactory(headers=headers).get(LOGIN, REMOTE_ADDR=remote)
    assert client_address(request) == expected


def new_address() -> str:
    """Return an address without failed attempts."""
    parts = uuid.uuid4().hex
    return f"2001:db8:{parts[:4]}:{parts[4:8]}::1"


def attempt(remote: str, username: str, password: str) -> int:
    sent = {"username": username, "password": password}
    return Client().post(LOGIN, sent, REMOTE_ADDR=remote).status_code


def test_ten_failures_lock_only_that_address() -> None:
    name = f"locked-{uuid.uuid4()}"
    User.objects.create_user(name, password="right", is_staff=True)
    locked, other = new_address(), new_address()
    assert [attempt(locked, name, "wrong") for _ in range(9)] == [200] * 9
    assert attempt(locked, "another name", "wrong") == 429
    assert attempt(locked, name, "right") == 429
    assert attempt(other, name, "right") == 302


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("x" * 151, "wrong"),
        ("x" * 256, "wrong"),
        ("x" * 100_000, "wrong"),
        ("\N{ROCKET}" * 300, "wrong"),
        # Unicode normalization makes it 18 times as long.
        ("\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}" * 150, "wrong"),
        ("no\0body", "wrong"),
        ("\0", "\0"),
        ("' OR 1=1 --", "wr\0ng"),
        ("\x1b[31m%00", "x" * 100_000),
        ("nobody", "\N{ROCKET}" * 1_000),
    ],
)
def test_a_name_or_password_that_no_user_can_have_is_wrong_and_counted(
    username: str, password: str
) -> None:
    address = new_address()
    sent = {"username": username, "password": password}
    response = Client().post(LOGIN, sent, REMOTE_ADDR=address)
    assert response.status_code == 200
    assert b"Please enter the correct username and password" in response.content
    assert failures(address) == 1


def test_ten_failures_with_such_names_lock_the_address() -> None:
    address = new_address()
    names = ("\0", "x" * 256)
    assert [attempt(address, names[n % 2], "\0") for n in range(10)] == [200] * 9 + [429]


def failures(address: str) -> int:
    """Return the number of failures that the lock has counted."""
    network = str(ipaddress.ip_address(address[:-1] + "0"))
    attempts = AccessAttempt.objects.filter(ip_address=network)
    return sum(attempts.values_list("failures_since_start", flat=True))


def test_a_success_resets_the_failures() -> None:
    name, address = f"success-{uuid.uuid4()}", new_address()
    User.objects.create_user(name, password="right", is_staff=True)
    for _ in range(3):
        assert [attempt(address, name, "wrong") for _ in range(5)] == [200] * 5
        assert attempt(address, name, "right") == 302


def test_the_response_to_a_locked_address() -> None:
    address = new_address()
    for _ in range(10):
        attempt(address, "nobody", "wrong")
    response = Client().post(LOGIN, {"username": "a", "password": "b"}, REMOTE_ADDR=address)
    assert (response.status_code, response["Retry-After"]) == (429, "900")
    assert b"Wait 15 minutes" in response.content


def test_an_operator_can_unlock_an_address(operator: Client) -> None:
    address = new_address()
    for _ in range(10):
        attempt(address, "nobody", "wrong")
    failures = operator.get(
        reverse("admin:axes_accessattempt_changelist"),
        {"q": str(ipaddress.ip_address(address[:-1] + "0"))},
    )
    pk = failures.context["cl"].result_list[0].pk
    path = reverse("admin:axes_accessattempt_delete", args=[pk])
    assert operator.post(path, {"post": "yes"}).status_code == 302
    assert attempt(address, "nobody", "wrong") == 200
