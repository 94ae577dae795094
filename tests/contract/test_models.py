"""`GET /api/v1/models`, and the models that a tenant may run."""

import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from agents import language_models
from agents.models import Agent, LanguageModel
from map_project.tenants.models import Tenant
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.factories import AgentFactory, TenantFactory

SEEDED = ["gpt-4o", "gpt-4", "gpt-3.5-turbo", "claude-3-opus", "claude-3-sonnet"]


@pytest.fixture(scope="module", autouse=True)
def _only_seeded_models() -> None:
    """Delete the models that other tests have left."""
    LanguageModel.objects.exclude(name__in=SEEDED).delete()
    language_models.forget()


@pytest.fixture
def agent(tenant: Tenant) -> Agent:
    return AgentFactory.create(tenant=tenant)


@pytest.fixture
def model() -> Iterator[LanguageModel]:
    """An additional model, deleted after the test."""
    row = LanguageModel.objects.create(
        name="local-llama",
        provider="mock",
        base_url="http://secret-host.internal:8080/v1",
        credential_token="token-of-the-credential",
        input_price_per_million=Decimal("2.50"),
        output_price_per_million=Decimal(10),
    )
    yield row
    LanguageModel.objects.filter(name=row.name).delete()


def names(api: Api) -> list[str]:
    return [item["name"] for item in api.get("models").json["items"]]


def test_the_seeded_models_are_listed_in_order(api: Api) -> None:
    response = api.get("models")
    assert response.status == 200
    assert response.json == {
        "items": [
            {
                "name": name,
                "provider": "mock",
                "input_price_per_million": None,
                "output_price_per_million": None,
            }
            for name in SEEDED
        ],
        "total": 5,
        "limit": 20,
        "offset": 0,
        "has_more": False,
    }


def test_the_list_is_paginated(api: Api) -> None:
    page = api.get("models?limit=2&offset=1").json
    assert [item["name"] for item in page["items"]] == SEEDED[1:3]
    assert (page["total"], page["has_more"]) == (5, True)
    assert api.get("models?offset=5").json["items"] == []
    assert api.get("models?limit=0").error_code == "INVALID_PAGINATION"


def test_prices_are_shown_and_addresses_are_not(
    api: Api, agent: Agent, model: LanguageModel
) -> None:
    response = api.get("models")
    assert response.json["items"][-1] == {
        "name": "local-llama",
        "provider": "mock",
        "input_price_per_million": "2.5",
        "output_price_per_million": "10",
    }
    rejected = api.run(agent.pk, model="none")
    assert rejected.details["allowed_models"] == [*SEEDED, "local-llama"]
    for text in (response.content.decode(), rejected.content.decode()):
        assert "secret-host" not in text
        assert "token-of" not in text


def test_an_inactive_model_is_neither_listed_nor_run(
    api: Api, agent: Agent, model: LanguageModel
) -> None:
    assert api.run(agent.pk, model=model.name).status == 200
    model.is_active = False
    model.save()
    assert names(api) == SEEDED
    response = api.run(agent.pk, model=model.name)
    assert (response.status, response.error_code) == (400, "INVALID_MODEL")
    assert response.details == {"provided_model": "local-llama", "allowed_models": SEEDED}


def test_a_model_of_an_unknown_provider_is_not_listed(api: Api, model: LanguageModel) -> None:
    LanguageModel.objects.filter(pk=model.pk).update(provider="of-the-next-release")
    language_models.forget()
    assert names(api) == SEEDED


def test_a_change_by_another_process_is_seen_within_two_seconds(
    api: Api, model: LanguageModel
) -> None:
    assert names(api) == [*SEEDED, "local-llama"]
    # `update()` sends no signal, like a change by another process.
    LanguageModel.objects.filter(pk=model.pk).update(name="local-qwen")
    try:
        deadline = time.monotonic() + 2
        while (listed := names(api)) != [*SEEDED, "local-qwen"]:
            assert time.monotonic() < deadline, listed
            time.sleep(0.05)
    finally:
        LanguageModel.objects.filter(pk=model.pk).update(name="local-llama")
        language_models.forget()


class TestAllowList:
    def tenant_with(self, allowed: Any) -> tuple[Api, Agent]:
        tenant = TenantFactory.create(allowed_models=allowed)
        return api_of(tenant), AgentFactory.create(tenant=tenant)

    def test_only_the_allowed_models_are_listed_in_order(self) -> None:
        api, agent = self.tenant_with(["claude-3-opus", "gpt-4", "unknown"])
        assert names(api) == ["gpt-4", "claude-3-opus"]
        assert api.run(agent.pk, model="gpt-4").status == 200
        response: Answer = api.run(agent.pk, model="gpt-4o")
        assert (response.status, response.error_code) == (400, "INVALID_MODEL")
        assert response.details == {
            "provided_model": "gpt-4o",
            "allowed_models": ["gpt-4", "claude-3-opus"],
        }

    def test_an_empty_list_allows_no_model(self) -> None:
        api, agent = self.tenant_with([])
        assert names(api) == []
        assert api.run(agent.pk).details["allowed_models"] == []

    def test_null_allows_all_models(self) -> None:
        api, agent = self.tenant_with(None)
        assert names(api) == SEEDED
        assert api.run(agent.pk, model="claude-3-sonnet").status == 200
