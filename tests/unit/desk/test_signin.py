"""Signing in: whose attempt it is, and when it is one too many."""

import ipaddress
import uuid

import pytest
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


def address() -> str:
    """An address that nobody failed from."""
    parts = uuid.uuid4().hex
    return f"2001:db8:{parts[:4]}:{parts[4:8]}::1"


def attempt(remote: str, username: str, password: str) -> int:
    sent = {"username": username, "password": password}
    return Client().post(LOGIN, sent, REMOTE_ADDR=remote).status_code


def test_ten_failures_lock_an_address_and_no_other() -> None:
    name = f"locked-{uuid.uuid4()}"
    User.objects.create_user(name, password="right", is_staff=True)
    here, elsewhere = address(), address()
    assert [attempt(here, name, "wrong") for _ in range(9)] == [200] * 9
    assert attempt(here, "another name", "wrong") == 429
    assert attempt(here, name, "right") == 429
    assert attempt(elsewhere, name, "right") == 302


def test_a_success_forgets_the_failures() -> None:
    name, here = f"forgetful-{uuid.uuid4()}", address()
    User.objects.create_user(name, password="right", is_staff=True)
    for _ in range(3):
        assert [attempt(here, name, "wrong") for _ in range(5)] == [200] * 5
        assert attempt(here, name, "right") == 302


def test_the_page_of_a_locked_address_is_ours() -> None:
    here = address()
    for _ in range(10):
        attempt(here, "nobody", "wrong")
    answer = Client().post(LOGIN, {"username": "a", "password": "b"}, REMOTE_ADDR=here)
    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    assert b"Wait 15 minutes" in answer.content


def test_an_operator_lets_an_address_try_again(operator: Client) -> None:
    here = address()
    for _ in range(10):
        attempt(here, "nobody", "wrong")
    failures = operator.get(
        reverse("admin:axes_accessattempt_changelist"),
        {"q": str(ipaddress.ip_address(here[:-1] + "0"))},
    )
    pk = failures.context["cl"].result_list[0].pk
    path = reverse("admin:axes_accessattempt_delete", args=[pk])
    assert operator.post(path, {"post": "yes"}).status_code == 302
    assert attempt(here, "nobody", "wrong") == 200
