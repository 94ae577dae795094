"""The search of the history: `q` and `metadata.<key>`, before and after executions are in blocks."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection

from executions.history import blocks, search
from executions.history.blocks import index_history
from executions.models import Execution, SearchBlock
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.contract.shapes import ids
from tests.factories import AgentFactory, ExecutionFactory

START = datetime(2026, 3, 1, tzinfo=UTC)
Create = Callable[..., str]


@pytest.fixture(params=[0, 1], ids=["in no block", "in blocks"])
def create(
    request: pytest.FixtureRequest, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> Create:
    """Return a function that creates executions, each a second after the one before."""
    agent = AgentFactory.create(tenant=tenant)
    times = iter(START + timedelta(seconds=number) for number in range(1_000_000))
    monkeypatch.setattr(blocks, "ROWS", 2)

    def create_one(**columns: Any) -> str:
        columns = {"agent": agent, "created_at": next(times), **columns}
        pk = str(ExecutionFactory.create(**columns).pk)
        if request.param:
            index(tenant)
        return pk

    return create_one


def index(tenant: Tenant) -> int:
    index_history()
    return SearchBlock.objects.filter(tenant=tenant).count()


def found(api: Api, query: str) -> list[str]:
    response = api.get(f"history?{query}")
    assert response.status == 200, response.content
    assert response.json["total"] == (
        None if response.json["has_more"] else len(ids(response.json))
    )
    return ids(response.json)


def test_words_of_prompt_and_response(api: Api, create: Create) -> None:
    one = create(prompt="Which invoices are OVERDUE?", response="None of them, Ms. Ödegård.")
    two = create(
        prompt="invoices/2026-03_new.pdf", response="It has 4711 lines, overdue since May."
    )
    create(prompt="An invoice", response="Nothing")
    assert found(api, "q=overdue") == [two, one]
    assert found(api, "q=Invoices") == [two, one]
    assert found(api, "q=overdue+invoices+pdf") == found(api, "q=4711") == [two]
    assert found(api, f"q={quote('ÖDEGÅRD ms')}") == [one]
    assert found(api, f"q={quote('(them) -none*')}") == [one]
    assert found(api, "q=invo") == found(api, "q=overdue+invoice") == found(api, "q=471") == []


def test_metadata(api: Api, create: Create) -> None:
    one = create(metadata={"ticket": "4711", "env": "prod"})
    two = create(metadata={"ticket": "4712", "env": "prod", "a.b=c": "%_"})
    create(), create(metadata={"env": "PROD"})
    assert found(api, "metadata.env=prod") == [two, one]
    assert found(api, "metadata.env=prod&metadata.ticket=4711") == [one]
    assert found(api, f"metadata.{quote('a.b=c')}={quote('%_')}") == [two]
    assert found(api, "metadata.ticket=471") == found(api, "metadata.prod=env") == []
    assert found(api, "metadata.env=") == []


def test_search_with_filters(api: Api, tenant: Tenant, create: Create) -> None:
    failed = create(prompt="late order", status="failed", metadata={"env": "prod"})
    late = create(prompt="late order", model="gpt-4")
    create(prompt="order", status="failed")
    assert found(api, "q=late&status=failed&metadata.env=prod") == [failed]
    assert found(api, "q=late&model=gpt-4") == [late]
    assert found(api, "q=late&since=2026-03-01T00:00:01Z") == [late]
    assert found(api, "q=late&until=2026-03-01T00:00:01Z") == [failed]


@pytest.mark.parametrize("few", [0, 200])
def test_pages_of_a_search(
    api: Api, create: Create, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """All matching executions once each, at any limit and with any number of executions in between."""
    for name, value in (("FEW", few), ("FIRST_CHUNK", 2), ("MAX_CHUNK", 3), ("NEAR_BLOCKS", 2)):
        monkeypatch.setattr(search, name, value)
    monkeypatch.setattr(search, "FAR_BLOCKS", 2)
    monkeypatch.setattr(search, "BATCH", 2)
    matching = {0, 1, 2, 7, 8, 15, 22, 23, 24, 25}
    pks = [create(prompt=f"number {n} {'wanted' if n in matching else ''}") for n in range(27)]
    expected = [pks[n] for n in sorted(matching, reverse=True)]
    for filters in ("", "&model=gpt-4o"):
        assert found(api, f"q=wanted{filters}") == expected
        assert found(api, f"q=wanted&offset=4{filters}&limit=3") == expected[4:7]
        for limit in (1, 3, 4):
            page = api.get(f"history?q=wanted&limit={limit}{filters}").json
            joined = ids(page)
            while page["has_more"]:
                assert page["total"] is None
                cursor = page["next_cursor"]
                page = api.get(f"history?q=wanted&limit={limit}{filters}&cursor={cursor}").json
                joined += ids(page)
            assert joined == expected


def test_a_search_whose_time_is_over_continues(
    api: Api, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("BUDGET_SECONDS", 0), ("FIRST_CHUNK", 2), ("BATCH", 1), ("MAX_CHUNK", 2)):
        monkeypatch.setattr(search, name, value)
    pks = [create(prompt="common wanted" if n in {3, 8} else f"common {n}") for n in range(12)]
    page = api.get("history?q=wanted&limit=1").json
    joined, pages = ids(page), 1
    while page["has_more"]:
        page = api.get(f"history?q=wanted&limit=1&cursor={page['next_cursor']}").json
        joined += ids(page)
        pages += 1
    assert joined == [pks[8], pks[3]]
    assert pages > 2


@pytest.mark.parametrize("limit", [1, 2, 20])
def test_a_search_continues_with_the_last_execution_of_the_block_before(
    api: Api, create: Create, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    for name, value in (("BUDGET_SECONDS", 0), ("FIRST_CHUNK", 2), ("BATCH", 1), ("MAX_CHUNK", 2)):
        monkeypatch.setattr(search, name, value)
    pks = [create(prompt="wanted") for _ in range(9)]
    page = api.get(f"history?q=wanted&limit={limit}").json
    joined, pages = ids(page), 1
    while page["has_more"] and pages < 20:
        page = api.get(f"history?q=wanted&limit={limit}&cursor={page['next_cursor']}").json
        joined += ids(page)
        pages += 1
    assert joined == pks[::-1]


def test_executions_that_get_into_a_block_during_a_search(
    api: Api, tenant: Tenant, create: Create
) -> None:
    """They are found once."""
    agent, times = (
        AgentFactory.create(tenant=tenant),
        [timedelta(days=1, seconds=n) for n in range(4)],
    )
    older = create(prompt="wanted"), create(prompt="wanted")
    newer = [
        str(ExecutionFactory.create(agent=agent, prompt="wanted", created_at=START + each).pk)
        for each in times
    ]
    expected = [*reversed(newer), *reversed(older)]

    def after_the_first_statement(execute: Any, sql: str, *arguments: Any) -> Any:
        result = execute(sql, *arguments)
        if "is_match" in sql:
            statements.append(sql)
            index(tenant)
        return result

    statements: list[str] = []
    with connection.execute_wrapper(after_the_first_statement):
        page = api.get("history?q=wanted&limit=5").json
    assert statements
    assert ids(page) == expected[:5]
    assert page["has_more"]


@pytest.mark.parametrize(
    ("text", "queries"),
    [
        ("यह हिन्दी में एक चालान है", ["हिन्दी", "चालान", "हिन्दी चालान"]),
        ("ใบแจ้งหนี้ค้างชำระ", ["ใบแจ้งหนี้ค้างชำระ"]),
        ("Area: 12 m² per room, 5 Ωm", ["m²", "12", "Ωm"]),
        ("cafe\u0301 noir", ["cafe\u0301"]),
        ("发票 已过期", ["发票", "已过期"]),
        ("счёт №٤٧", ["СЧЁТ"]),
        ("ΟΔΟΣ", ["οδος", "ΟΔΟΣ"]),
        ("οδος 7", ["οδος", "ΟΔΟΣ"]),
        ("IŞIK", ["IŞIK", "\u0131şik"]),
        ("👍 done_it 100%", ["👍 done_it", "100%"]),
    ],
)
def test_words_of_all_scripts(api: Api, create: Create, text: str, queries: list[str]) -> None:
    """PostgreSQL decides what a word is, for the text and for the query."""
    pk = create(prompt=text)
    create(prompt="another text"), create(prompt="one more"), create()
    assert [found(api, f"q={quote(query)}") for query in queries] == [[pk]] * len(queries)


def test_a_run_that_ends_after_it_is_in_a_block(api: Api, tenant: Tenant, create: Create) -> None:
    pks = [create(status="running", response=""), create()]
    index(tenant)
    Execution.objects.filter(pk=pks[0]).update(status="succeeded", response="finally")
    assert found(api, "q=finally") == [pks[0]]
    index(tenant)
    assert not SearchBlock.objects.filter(tenant=tenant, is_stale=True).exists()
    assert found(api, "q=finally") == [pks[0]]


def test_executions_inserted_with_an_earlier_time(
    api: Api, tenant: Tenant, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found at once, and their block is divided."""
    monkeypatch.setattr(blocks, "MAX_ROWS", 5)
    for _ in range(6):
        create()
    count = index(tenant)
    early = [
        create(prompt="early", created_at=START + timedelta(seconds=seconds))
        for seconds in (-10, 0.5, 2.5, *(3 + number / 20 for number in range(1, 18)))
    ]
    expected = [early[0], early[1], early[2], *early[3:]][::-1]
    assert found(api, "q=early") == expected
    while SearchBlock.objects.filter(tenant=tenant, is_stale=True).exists():
        index(tenant)
    assert index(tenant) > count
    assert found(api, "q=early") == expected


def test_large_executions_have_blocks_of_their_own(
    api: Api, tenant: Tenant, create: Create, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "ROWS", 1_000)
    monkeypatch.setattr(blocks, "BYTES", 10_000)
    monkeypatch.setattr(blocks, "MAX_BYTES", 30_000)
    for number in range(6):
        create(prompt=f"large {number}", response="word " * 3_000 + f"end{number}")
    assert index(tenant) == 6
    assert len(found(api, "q=large")) == 6
    assert len(found(api, "q=end4")) == 1


def test_other_tenants_are_not_found(api: Api, other_api: Api, create: Create) -> None:
    create(prompt="secret", metadata={"k": "v"}), create()
    for query in ("q=secret", "metadata.k=v", "q=secret&metadata.k=v&status=succeeded"):
        assert len(found(api, query)) == 1
        assert found(other_api, query) == []


@pytest.mark.parametrize(
    "query",
    [
        *("q=", "q=+", "q=%3F%21", f"q={'x' * 201}", f"q={'+'.join(f'w{n}' for n in range(11))}"),
        *("metadata.=x", f"metadata.{'k' * 65}=x", f"metadata.k={'v' * 513}", "q=a&q=b"),
        *("metadata.k=1&metadata.k=2", "&".join(f"metadata.k{n}=v" for n in range(17))),
        "offset=1001&q=x",
    ],
)
def test_an_invalid_search_is_refused(api: Api, query: str) -> None:
    response = api.get(f"history?{query}")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert response.json["message"].startswith(query.partition("=")[0].partition(".")[0])


def test_the_longest_valid_search(api: Api, create: Create) -> None:
    words = [f"w{n}" for n in range(10)]
    pk = create(prompt=" ".join(reversed(words)), metadata={"k" * 64: "v" * 512})
    assert found(api, f"q={'+'.join(words)}") == [pk]
    assert found(api, f"metadata.{'k' * 64}={'v' * 512}") == [pk]


def test_the_blocks_of_an_index_with_words_that_are_no_keys(
    api: Api, tenant: Tenant, create: Create
) -> None:
    """A word of any length, texts without a word, and letters that have no upper case."""
    long = "x" * 50_000
    one, two, three = (
        create(prompt=long),
        create(prompt="...", response="?"),
        create(prompt="漢字 かな"),
    )
    create()
    assert found(api, f"q={'x' * 200}") == []
    assert found(api, f"q={quote('かな')}") == [three]
    assert {one, two, three} <= set(found(api, "limit=100"))
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM executions_searchblock WHERE words IS NULL")
        assert cursor.fetchone() == (0,)
