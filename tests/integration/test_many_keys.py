"""The admin's pages of API keys with 100,000 keys, in a separate table."""

from collections.abc import Iterator

import pytest
from django.test import Client
from django.utils import timezone

from map_project.desk.stale_keys import KEYS_SHOWN, LAST_ACTIVITY, stale_keys
from map_project.tenants.models import ApiKey, Tenant
from tests.integration.test_desk_scale import check_time
from tests.many_rows import many_rows
from tests.unit.desk.conftest import signed_in

pytestmark = pytest.mark.slow

KEYS = 100_000
_FILL_KEYS = """
INSERT INTO tenants_apikey
    (id, tenant_id, name, prefix, key_hash, created_by, created_at, last_used_at, expires_at, revoked_at)
SELECT
    gen_random_uuid(), (%s::uuid[])[1 + i %% 50],
    'key', 'map_' || lpad(i::text, 8, '0'), i::text, 'ada', now() - interval '400 days' * random(),
    CASE WHEN i %% 3 > 0 THEN now() - interval '90 days' * random() END,
    CASE WHEN i %% 5 = 0 THEN now() + interval '100 days' * (random() - 0.9) END,
    CASE WHEN i %% 2 = 0 THEN now() END
FROM generate_series(1, %s) AS i
"""


@pytest.fixture(scope="module")
def operator() -> Client:
    return signed_in("operator")


@pytest.fixture(scope="module")
def many_keys() -> Iterator[None]:
    """Create keys in a separate table."""
    tenants = Tenant.objects.bulk_create(Tenant(name=f"key-scale-{n}") for n in range(50))
    parameters = [[tenant.pk for tenant in tenants], KEYS]
    with many_rows("key_scale", [(_FILL_KEYS, parameters)], ApiKey):
        yield
    Tenant.objects.filter(name__startswith="key-scale-").delete()


@pytest.mark.parametrize(
    "path", ["/admin/stale-keys/", "/admin/tenants/apikey/?use=stale", "/admin/tenants/apikey/"]
)
def test_pages_of_many_keys(operator: Client, many_keys: None, path: str) -> None:
    page = operator.get(path)
    assert page.content.count(b"key-scale-") >= 50
    check_time(lambda: operator.get(path))


def test_stale_keys_are_read_from_the_index(many_keys: None) -> None:
    keys = stale_keys(ApiKey.objects.all(), at=timezone.now())
    plan = keys.order_by(LAST_ACTIVITY, "id")[: KEYS_SHOWN + 1].explain()
    assert "Index Scan using api_key_by_activity" in plan
    assert "Sort" not in plan
