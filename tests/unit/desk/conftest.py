"""People at the desk, without a browser."""

import uuid

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client


def person(kind: str) -> Client:
    """Somebody of the group `kind`, signed in; `superuser` is one."""
    user = User.objects.create_user(
        f"{kind}-{uuid.uuid4()}", is_staff=True, is_superuser=kind == "superuser"
    )
    if not user.is_superuser:
        user.groups.add(Group.objects.get(name=kind))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture(scope="module")
def operator() -> Client:
    return person("operator")


@pytest.fixture(scope="module")
def auditor() -> Client:
    return person("auditor")


@pytest.fixture(scope="module")
def superuser() -> Client:
    return person("superuser")
