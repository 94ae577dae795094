"""Test clients of signed-in staff users."""

import uuid

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import Group, User
from django.test import Client


def signed_in(role: str) -> Client:
    """Return a client signed in as a new user with this role: a group, or `superuser`."""
    user = User.objects.create_user(
        f"{role}-{uuid.uuid4()}", is_staff=True, is_superuser=role == "superuser"
    )
    if not user.is_superuser:
        user.groups.add(Group.objects.get(name=role))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture(autouse=True)
def _fast_passwords(settings: LazySettings) -> None:
    """The default hasher needs a third of a second for each sign-in."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="module")
def operator() -> Client:
    return signed_in("operator")


@pytest.fixture(scope="module")
def auditor() -> Client:
    return signed_in("auditor")


@pytest.fixture(scope="module")
def superuser() -> Client:
    return signed_in("superuser")
