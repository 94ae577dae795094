"""`GET /api/v1/me`: the key of the request, its tenant and what is left of the quota."""

from datetime import UTC, datetime, timedelta

from map_project.tenants.keys import issue_key
from map_project.tenants.models import Tenant
from map_project.usage.models import DailyCost
from ratelimit.limiter import Quota, default_limiter
from tests.api import Api
from tests.factories import AgentFactory, TenantFactory


def test_it_has_the_key_the_tenant_and_the_quota(tenant: Tenant) -> None:
    key, text = issue_key(tenant=tenant, name="ci", expires_in=timedelta(days=3))
    me = Api(text).get("me").json
    assert me["tenant"] == {"id": str(tenant.pk), "name": tenant.name}
    assert me["api_key"]["id"] == str(key.pk)
    assert (me["api_key"]["prefix"], me["api_key"]["name"]) == (key.prefix, "ci")
    assert key.expires_at
    assert datetime.fromisoformat(me["api_key"]["expires_at"]) == key.expires_at
    assert Api(issue_key(tenant=tenant)[1]).get("me").json["api_key"]["expires_at"] is None
    assert me["scopes"] == ["read", "write", "run", "approve"]
    assert me["rate_limit"] == {
        "limit": 100,
        "window_seconds": 60,
        "remaining": 100,
        "reset_after_seconds": 0,
    }
    assert me["budgets"] == []
    assert text not in str(me)


def test_it_takes_nothing_and_shows_what_is_left() -> None:
    tenant = TenantFactory.create(rate_limit_requests=3, rate_limit_window_seconds=600)
    api = Api(issue_key(tenant=tenant)[1])
    agent = AgentFactory.create(tenant=tenant)
    for remaining in (3, 2, 1, 0, 0):
        limits = api.get("me").json["rate_limit"]
        assert (limits["limit"], limits["window_seconds"]) == (3, 600)
        assert limits["remaining"] == remaining
        assert (0 < limits["reset_after_seconds"] <= 600) == (remaining < 3)
        run = api.run(agent.pk)
        assert run.status == (200 if remaining else 429)
    (usage,) = default_limiter().peek([Quota(tenant.pk, 3, 600)])
    assert usage.used == 3


def test_other_methods_and_callers(api: Api) -> None:
    assert Api().get("me").error_code == "MISSING_API_KEY"
    assert Api("x").get("me").error_code == "INVALID_API_KEY"
    assert api.post("me", {}).error_code == "METHOD_NOT_ALLOWED"
    assert api.get("me/").status == 404


def test_it_shows_the_budgets() -> None:
    tenant = TenantFactory.create(budget_usd_month="300")
    DailyCost.objects.create(tenant=tenant, day=datetime.now(UTC).date(), cost_usd="1.250000000")
    (budget,) = Api(issue_key(tenant=tenant)[1]).get("me").json["budgets"]
    resets_at = datetime.fromisoformat(budget.pop("resets_at"))
    assert budget == {"period": "month", "limit_usd": "300", "spent_usd": "1.25"}
    assert resets_at > datetime.now(UTC)
    assert (resets_at.day, resets_at.hour) == (1, 0)
