"""API keys in the admin: shown once, rotated, revoked, and logged."""

import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from map_project.tenants.keys import hash_key, is_valid, issue_key, revoke_key, rotate_key
from map_project.tenants.models import ApiKey, Tenant
from map_project.tenants.scopes import DEFAULT_SCOPES
from ratelimit.limiter import Quota, default_limiter
from tests.unit.desk.conftest import signed_in

NEW_KEY = {"name": "", "scopes": [*DEFAULT_SCOPES]}


def shown_key(content: bytes) -> str:
    match = re.search(r'id="new-key">(map_[\w-]{43})<', content.decode())
    assert match
    return match[1]


def log_messages(row: Tenant | ApiKey) -> list[str]:
    entries = LogEntry.objects.filter(object_id=str(row.pk)).order_by("pk")
    return [entry.get_change_message() for entry in entries]


def test_a_key_is_shown_only_once(operator: Client, tenant: Tenant) -> None:
    path = reverse("admin:issue_key", args=[tenant.pk])
    sent = {"name": "production", "scopes": ["run", "read"], "expires_in_days": "30"}
    response = operator.post(path, sent)
    assert response.status_code == 302
    shown = response["location"]
    other = signed_in("operator")
    assert b"new-key" not in other.get(shown).content
    assert not operator.head(shown).content
    response = operator.get(shown)
    key = ApiKey.objects.get(key_hash=hash_key(shown_key(response.content)))
    assert (key.tenant, key.name, key.scopes) == (tenant, "production", ["read", "run"])
    assert b"read, run" in response.content
    assert key.expires_at is not None
    assert timedelta(29.9) < key.expires_at - timezone.now() < timedelta(30.1)
    assert "no-store" in response["Cache-Control"]
    assert log_messages(tenant) == [f"Issued the API key {key.prefix}."]
    page = operator.get(reverse("admin:tenants_tenant_change", args=[tenant.pk])).content.decode()
    assert key.prefix in page
    assert shown_key(response.content) not in page
    again = operator.get(shown)
    assert (again.status_code, b"new-key" in again.content) == (200, False)
    assert b"already shown" in again.content
    assert tenant.api_keys.count() == 1


def test_the_session_has_no_key_in_plain_text_and_none_after_it_was_shown(
    operator: Client, tenant: Tenant
) -> None:
    response = operator.post(reverse("admin:issue_key", args=[tenant.pk]), NEW_KEY)
    ((name, token),) = (item for item in operator.session.items() if "new_api_key" in item[0])
    assert "map_" not in token
    key = shown_key(operator.get(response["location"]).content)
    assert key not in token
    assert name not in operator.session


def test_a_key_is_shown_for_five_minutes_only(
    operator: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    response = operator.post(reverse("admin:issue_key", args=[tenant.pk]), NEW_KEY)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 301)
    assert b"already shown" in operator.get(response["location"]).content


def test_keys_that_are_issued_in_two_windows_are_both_shown(
    operator: Client, tenant: Tenant
) -> None:
    path = reverse("admin:issue_key", args=[tenant.pk])
    pages = [operator.post(path, NEW_KEY)["location"] for _ in range(2)]
    keys = {shown_key(operator.get(page).content) for page in pages}
    assert {hash_key(key) for key in keys} == {key.key_hash for key in tenant.api_keys.all()}


@pytest.mark.parametrize(
    "sent",
    [
        *({"name": "x" * 101}, {"expires_in_days": "0"}, {"name": "\0"}),
        *({"scopes": []}, {"scopes": ["admin"]}, {"scopes": ["read", "\0"]}),
    ],
)
def test_an_invalid_form_issues_no_key(
    operator: Client, tenant: Tenant, sent: dict[str, Any]
) -> None:
    path = reverse("admin:issue_key", args=[tenant.pk])
    response = operator.post(path, {**NEW_KEY, **sent})
    assert response.status_code == 200
    assert b"new-key" not in response.content
    assert not tenant.api_keys.exists()


@pytest.mark.parametrize("grace", [0, 3600])
def test_a_key_is_rotated(operator: Client, tenant: Tenant, grace: int) -> None:
    old, _ = issue_key(tenant=tenant, name="production")
    sent = {"grace": str(grace)}
    response = operator.post(reverse("admin:rotate_key", args=[old.pk]), sent, follow=True)
    assert len(response.redirect_chain) == 1
    new = ApiKey.objects.get(key_hash=hash_key(shown_key(response.content)))
    old.refresh_from_db()
    now = timezone.now()
    assert (new.name, new.tenant, new.expires_at) == ("production", tenant, None)
    assert is_valid(new, at=now)
    assert is_valid(old, at=now) == bool(grace)
    assert not is_valid(old, at=now + timedelta(seconds=grace + 1))
    assert log_messages(old)[-1].startswith(f"Rotated. New key: {new.prefix}. ")


def test_a_rotation_does_not_extend_the_old_key_and_copies_its_lifetime(tenant: Tenant) -> None:
    old, _ = issue_key(tenant=tenant, expires_in=timedelta(days=2))
    end = old.expires_at
    assert end is not None
    new, _ = rotate_key(key=old, grace=timedelta(days=7))
    old.refresh_from_db()
    assert old.expires_at == end
    assert new.expires_at is not None
    assert abs(new.expires_at - end) < timedelta(minutes=1)


def test_a_revoked_or_expired_key_is_not_rotated(operator: Client, tenant: Tenant) -> None:
    revoked, _ = issue_key(tenant=tenant)
    revoke_key(key=revoked)
    expired, _ = issue_key(tenant=tenant)
    ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
    for key in (revoked, expired):
        with pytest.raises(ValueError, match="no longer valid"):
            rotate_key(key=key, grace=timedelta(hours=1))
        response = operator.post(reverse("admin:rotate_key", args=[key.pk]), {"grace": "3600"})
        assert response.status_code == 302
    assert tenant.api_keys.count() == 2


def test_a_key_is_revoked_after_a_confirmation(operator: Client, tenant: Tenant) -> None:
    key, _ = issue_key(tenant=tenant)
    path = reverse("admin:revoke_key", args=[key.pk])
    assert b"cannot be undone" in operator.get(path).content
    key.refresh_from_db()
    assert key.revoked_at is None
    assert operator.post(path).status_code == 302
    key.refresh_from_db()
    assert key.revoked_at
    assert log_messages(key)[-1].startswith("Revoked. ")
    assert log_messages(tenant)[-1] == f"Revoked the API key {key.prefix}."


@pytest.mark.parametrize("name", ["rotate_key", "revoke_key"])
def test_the_last_use_of_a_key_is_shown_before_it_is_replaced(
    operator: Client, tenant: Tenant, name: str
) -> None:
    key, _ = issue_key(tenant=tenant)
    path = reverse(f"admin:{name}", args=[key.pk])
    assert b"never been used" in operator.get(path).content
    used = datetime(2026, 2, 3, 4, 5, tzinfo=UTC)
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=used)
    assert b"last used on 03 Feb 2026 at 04:05 UTC" in operator.get(path).content


def test_the_usage_is_reset_after_a_confirmation(
    operator: Client, auditor: Client, tenant: Tenant
) -> None:
    limiter, quota = default_limiter(), Quota(tenant.pk, 100, 60)
    limiter.take(tenant.pk, limit=100, window_seconds=60)
    path = reverse("admin:reset_usage", args=[tenant.pk])
    assert b"Reset usage?" in operator.get(path).content
    assert auditor.get(path).status_code == auditor.post(path).status_code == 403
    assert limiter.peek([quota])[0].used == 1
    assert operator.post(path).status_code == 302
    assert limiter.peek([quota])[0].used == 0


@pytest.mark.parametrize(
    "name", ["new_key", "issue_key", "rotate_key", "revoke_key", "reset_usage"]
)
def test_an_unknown_id_is_404(operator: Client, name: str) -> None:
    for pk in ("01a20339-9760-728b-9175-e23e81d85b6a", "no-id"):
        assert operator.post(reverse(f"admin:{name}", args=[pk])).status_code == 404
