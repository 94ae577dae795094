"""API keys in the admin: shown once, rotated, revoked, and logged."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from map_project.tenants.keys import hash_key, is_valid, issue_key, revoke_key, rotate_key
from map_project.tenants.models import ApiKey, Tenant


def shown(content: bytes) -> str:
    found = re.search(r'id="new-key">(map_[\w-]{43})<', content.decode())
    assert found
    return found[1]


def logged(row: Tenant | ApiKey) -> list[str]:
    entries = LogEntry.objects.filter(object_id=str(row.pk)).order_by("pk")
    return [entry.get_change_message() for entry in entries]


def test_a_key_is_shown_once_and_kept_nowhere(operator: Client, tenant: Tenant) -> None:
    path = reverse("admin:issue_key", args=[tenant.pk])
    answer = operator.post(path, {"name": "production", "expires_in_days": "30"})
    key = ApiKey.objects.get(key_hash=hash_key(shown(answer.content)))
    assert (key.tenant, key.name) == (tenant, "production")
    assert key.expires_at is not None
    assert timedelta(29.9) < key.expires_at - timezone.now() < timedelta(30.1)
    assert "no-store" in answer["Cache-Control"]
    assert logged(tenant) == [f"Issued the API key {key.prefix}."]
    page = operator.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()
    assert key.prefix in page
    assert shown(answer.content) not in page


@pytest.mark.parametrize("sent", [{"name": "x" * 101}, {"expires_in_days": "0"}, {"name": "\0"}])
def test_a_bad_form_issues_nothing(operator: Client, tenant: Tenant, sent: dict[str, str]) -> None:
    answer = operator.post(reverse("admin:issue_key", args=[tenant.pk]), sent)
    assert answer.status_code == 200
    assert b"new-key" not in answer.content
    assert not tenant.api_keys.exists()


@pytest.mark.parametrize("grace", [0, 3600])
def test_a_key_is_rotated(operator: Client, tenant: Tenant, grace: int) -> None:
    old, _ = issue_key(tenant=tenant, name="production")
    answer = operator.post(reverse("admin:rotate_key", args=[old.pk]), {"grace": str(grace)})
    new = ApiKey.objects.get(key_hash=hash_key(shown(answer.content)))
    old.refresh_from_db()
    now = timezone.now()
    assert (new.name, new.tenant, new.expires_at) == ("production", tenant, None)
    assert is_valid(new, at=now)
    assert is_valid(old, at=now) == bool(grace)
    assert not is_valid(old, at=now + timedelta(seconds=grace + 1))
    assert logged(old) == [f"Rotated. New key: {new.prefix}."]


def test_a_rotation_never_prolongs_the_old_key_and_copies_its_life(tenant: Tenant) -> None:
    old, _ = issue_key(tenant=tenant, expires_in=timedelta(days=2))
    end = old.expires_at
    assert end is not None
    new, _ = rotate_key(key=old, grace=timedelta(days=7))
    old.refresh_from_db()
    assert old.expires_at == end
    assert new.expires_at is not None
    assert abs(new.expires_at - end) < timedelta(minutes=1)


def test_what_is_revoked_or_expired_is_not_rotated(operator: Client, tenant: Tenant) -> None:
    revoked, _ = issue_key(tenant=tenant)
    revoke_key(key=revoked)
    expired, _ = issue_key(tenant=tenant)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    for key in (revoked, expired):
        with pytest.raises(ValueError, match="no longer valid"):
            rotate_key(key=key, grace=timedelta(hours=1))
        answer = operator.post(reverse("admin:rotate_key", args=[key.pk]), {"grace": "3600"})
        assert answer.status_code == 302
    assert tenant.api_keys.count() == 2


def test_a_key_is_revoked_after_a_question(operator: Client, tenant: Tenant) -> None:
    key, _ = issue_key(tenant=tenant)
    path = reverse("admin:revoke_key", args=[key.pk])
    assert b"cannot be undone" in operator.get(path).content
    key.refresh_from_db()
    assert key.revoked_at is None
    assert operator.post(path).status_code == 302
    key.refresh_from_db()
    assert key.revoked_at
    assert logged(key) == ["Revoked."]
    assert logged(tenant) == [f"Revoked the API key {key.prefix}."]


@pytest.mark.parametrize("name", ["issue_key", "rotate_key", "revoke_key", "reset_usage"])
def test_what_is_not_there_is_404(operator: Client, name: str) -> None:
    for pk in ("01a20339-9760-728b-9175-e23e81d85b6a", "no-id"):
        assert operator.post(reverse(f"admin:{name}", args=[pk])).status_code == 404
