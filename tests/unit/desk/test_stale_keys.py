"""Keys that are not used: their page, and the filter of the list; scopes and creators of keys."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from map_project.api.audit import KeyActor
from map_project.desk.stale_keys import KEYS_SHOWN
from map_project.tenants.keys import issue_key, revoke_key
from map_project.tenants.models import ApiKey, Tenant

PAGE = "/admin/stale-keys/"
LIST = "/admin/tenants/apikey/"
# Before the keys of other tests.
YEARS = 365 * 20


@pytest.fixture(autouse=True)
def _no_keys_are_left(tenant: Tenant) -> Iterator[None]:
    """The page shows the keys of all tenants."""
    yield
    ApiKey.objects.filter(tenant=tenant).delete()


def key_of(
    tenant: Tenant, *, created: float, used: float | None = None, expires: float | None = None
) -> ApiKey:
    """Create a key. The times are in days before now."""
    key, _ = issue_key(tenant=tenant, name=f"created {created}", scopes=["read", "keys"])
    now = timezone.now()
    ApiKey.objects.filter(pk=key.pk).update(
        created_at=now - timedelta(days=created),
        last_used_at=None if used is None else now - timedelta(days=used),
        expires_at=None if expires is None else now - timedelta(days=expires),
    )
    return key


def prefixes(client: Client, path: str = PAGE) -> list[str]:
    """Return the prefixes on a page, in order."""
    response = client.get(path)
    assert response.status_code == 200
    return re.findall(r">(map_[\w-]{8})(?:…|<)", response.content.decode())


def test_only_valid_keys_that_were_not_used_for_30_days_are_stale(
    operator: Client, tenant: Tenant
) -> None:
    stale = [
        key_of(tenant, created=YEARS + 3).prefix,
        key_of(tenant, created=YEARS + 3, used=YEARS + 2).prefix,
        key_of(tenant, created=YEARS + 1, expires=-1).prefix,
    ]
    late = [
        key_of(tenant, created=30.1).prefix,
        key_of(tenant, created=YEARS, used=30.1).prefix,
    ]
    others = [
        key_of(tenant, created=29.9),
        key_of(tenant, created=YEARS, used=29.9),
        key_of(tenant, created=YEARS, expires=1),
        (revoked := key_of(tenant, created=YEARS)),
    ]
    revoke_key(key=revoked)
    found = prefixes(operator)
    assert found[:3] == stale
    assert set(late) <= set(found)
    assert not {key.prefix for key in others} & set(found)
    filtered = prefixes(operator, f"{LIST}?use=stale&tenant__id__exact={tenant.pk}")
    assert set(filtered) == {*stale, *late}
    assert len(prefixes(operator, f"{LIST}?tenant__id__exact={tenant.pk}")) == 9


def test_the_page_shows_the_tenant_the_creator_and_the_last_use(
    operator: Client, auditor: Client, tenant: Tenant
) -> None:
    key = key_of(tenant, created=YEARS + 9, used=YEARS + 8)
    ApiKey.objects.filter(pk=key.pk).update(created_by="ada")
    used_at = timezone.now() - timedelta(days=YEARS + 8)
    revoke = reverse("admin:revoke_key", args=[key.pk])
    for client, may_revoke in ((operator, True), (auditor, False)):
        page = client.get(PAGE).content.decode()
        # Other tests leave few stale keys.
        assert "There are more" not in page
        row = page[page.index(key.prefix) :].partition("</tr>")[0]
        for text in (tenant.name, key.name, "read, keys", "ada", f"{used_at:%-d %b %Y}"):
            assert text in row
        assert (revoke in row) == may_revoke


def test_it_shows_the_first_keys_and_says_that_there_are_more(
    operator: Client, tenant: Tenant
) -> None:
    old = timezone.now() - timedelta(days=YEARS)
    ApiKey.objects.bulk_create(
        ApiKey(tenant=tenant, prefix=f"map_{n:08}", key_hash=f"stale-{n}", created_at=old)
        for n in range(KEYS_SHOWN + 1)
    )
    assert prefixes(operator) == [f"map_{n:08}" for n in range(KEYS_SHOWN)]
    assert b"There are more" in operator.get(PAGE).content
    with CaptureQueriesContext(connection) as captured:
        operator.get(PAGE)
    assert len([query for query in captured if "tenants_apikey" in query["sql"]]) == 1


def test_the_sidebar_has_the_page_for_those_who_may_view_keys(
    operator: Client, auditor: Client
) -> None:
    for client in (operator, auditor):
        assert f'href="{PAGE}"' in client.get("/admin/").content.decode()
    user = User.objects.create_user("nobody-of-stale-keys", is_staff=True)
    client = Client()
    client.force_login(user)
    assert PAGE not in client.get("/admin/").content.decode()
    assert client.get(PAGE).status_code == 403
    user.delete()


def test_the_admin_shows_scopes_and_creators(operator: Client, tenant: Tenant) -> None:
    issue_key(tenant=tenant, scopes=["run", "approve"], user=KeyActor("map_creator1"))
    old, _ = issue_key(tenant=tenant)
    ApiKey.objects.filter(pk=old.pk).update(created_by="")
    for path in (
        f"{LIST}?tenant__id__exact={tenant.pk}",
        reverse("admin:tenants_tenant_change", args=[tenant.pk]),
    ):
        page = operator.get(path).content.decode()
        assert "run, approve" in page
        assert "map_creator1" in page
        assert "read, write, run, approve" in page
    page = operator.get(reverse("admin:tenants_apikey_change", args=[old.pk])).content.decode()
    assert "read, write, run, approve" in page
    assert old.key_hash not in page
