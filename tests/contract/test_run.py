from map_project.tenants.models import Tenant
from tests.api import Api, LiveApi
from tests.factories import AgentFactory


def test_run(api: Api, tenant: Tenant) -> None:
    answer = api.run(AgentFactory.create(tenant=tenant, with_tools=2).pk)
    assert answer.status == 200, answer.content
    assert answer.headers["x-ratelimit-remaining"] == "99"


def test_live(live_api: LiveApi, tenant: Tenant) -> None:
    answer = live_api.run(AgentFactory.create(tenant=tenant, with_tools=2).pk)
    assert answer.status == 200, answer.content
