"""The total of the history: exact, also while executions are inserted and deleted."""

import random
import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial

import pytest
from django.db import connection, transaction
from django.utils import timezone

from executions.history import counting
from executions.history.counting import CLOSED_AFTER, count_executions
from executions.history.models import HistoryTotal
from executions.history.pruning import prune
from executions.models import Execution
from map_project.tenants.models import Tenant
from tests.api import Api
from tests.at_once import at_once, beside
from tests.factories import AgentFactory, ExecutionFactory, TenantFactory

PAST = 2 * CLOSED_AFTER


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """The total moves forward with each row, and by three rows at most."""
    monkeypatch.setattr(counting, "MAX_ADDED", 0)
    monkeypatch.setattr(counting, "MAX_MOVED", 3)


def stored(tenant: Tenant) -> int:
    return HistoryTotal.objects.get(tenant=tenant).count


def create(tenant: Tenant, count: int = 1, age: timedelta = timedelta()) -> list[Execution]:
    created_at = timezone.now() - age
    created: list[Execution] = ExecutionFactory.create_batch(
        count, agent=AgentFactory.create(tenant=tenant), created_at=created_at
    )
    return created


def test_of_an_empty_history(tenant: Tenant, few: None) -> None:
    assert count_executions(tenant.pk) == 0
    create(tenant)
    assert (count_executions(tenant.pk), stored(tenant)) == (1, 0)


@pytest.mark.parametrize("old", [0, 1, 2, 3, 4, 10])
def test_old_rows_are_counted_once(tenant: Tenant, few: None, old: int) -> None:
    """Also if they have the same time."""
    create(tenant, old, PAST)
    create(tenant, 2)
    for _ in range(2):
        assert (count_executions(tenant.pk), stored(tenant)) == (old + 2, old)


def test_few_old_rows_are_not_stored(tenant: Tenant) -> None:
    create(tenant, 3, PAST)
    assert (count_executions(tenant.pk), stored(tenant)) == (3, 0)


def test_deleted_rows_are_subtracted_at_once(
    api: Api, tenant: Tenant, other_tenant: Tenant, few: None
) -> None:
    old, new = create(tenant, 5, PAST), create(tenant, 2)
    others = create(other_tenant, 2, PAST)
    assert (count_executions(tenant.pk), count_executions(other_tenant.pk)) == (7, 2)
    gone = [old[0].pk, old[3].pk, new[0].pk, others[0].pk]
    Execution.objects.filter(pk__in=gone).delete()
    assert (stored(tenant), stored(other_tenant)) == (3, 1)
    assert api.get("history").json["total"] == 4
    assert count_executions(other_tenant.pk) == 1


def test_rows_that_are_inserted_with_an_earlier_time(tenant: Tenant, few: None) -> None:
    create(tenant, 2, PAST)
    assert count_executions(tenant.pk) == 2
    create(tenant, 1, 2 * PAST)
    assert (count_executions(tenant.pk), stored(tenant)) == (3, 3)


def test_rows_whose_time_or_tenant_is_changed(
    tenant: Tenant, other_tenant: Tenant, few: None
) -> None:
    rows = create(tenant, 4, PAST)
    create(other_tenant, 1, PAST)
    assert (count_executions(tenant.pk), count_executions(other_tenant.pk)) == (4, 1)
    Execution.objects.filter(pk=rows[0].pk).update(created_at=timezone.now())
    Execution.objects.filter(pk=rows[1].pk).update(tenant=other_tenant)
    assert (count_executions(tenant.pk), count_executions(other_tenant.pk)) == (3, 2)


def test_a_truncated_table(tenant: Tenant, few: None) -> None:
    create(tenant, 2, PAST)
    assert count_executions(tenant.pk) == 2
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("TRUNCATE executions_execution CASCADE")
        assert (stored(tenant), count_executions(tenant.pk)) == (0, 0)
        transaction.set_rollback(True)
    assert count_executions(tenant.pk) == 2


def test_the_total_of_a_tenant_is_deleted_with_it() -> None:
    tenant = TenantFactory.create()
    assert stored(tenant) == 0
    pk = tenant.pk
    tenant.delete()
    assert not HistoryTotal.objects.filter(pk=pk).exists()


def test_rows_of_open_transactions_are_counted_after_their_commit(
    tenant: Tenant, few: None
) -> None:
    """The total does not move beside a transaction that has deleted rows, or inserted late ones."""
    rows = create(tenant, 4, PAST)
    with beside(lambda: Execution.objects.filter(pk=rows[0].pk).delete()):
        assert count_executions(tenant.pk) == 4
    assert (count_executions(tenant.pk), stored(tenant)) == (3, 3)
    create(tenant, 1, PAST / 2)
    with beside(lambda: create(tenant, 1, PAST)):
        assert count_executions(tenant.pk) == 4
    assert (count_executions(tenant.pk), stored(tenant)) == (5, 5)


def test_no_total_moves_beside_an_old_transaction(
    tenant: Tenant, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are not visible, but have times that others consider closed."""
    monkeypatch.setattr(counting, "CLOSED_AFTER", timedelta(seconds=1))
    monkeypatch.setattr(counting, "MAX_WRITER_AGE", timedelta(seconds=1))
    create(tenant, 1)
    with beside(lambda: create(tenant, 1)):
        time.sleep(1.5)
        assert (count_executions(tenant.pk), stored(tenant)) == (1, 0)
    assert (count_executions(tenant.pk), stored(tenant)) == (2, 2)


def test_pruning_waits_for_the_total(tenant: Tenant, few: None) -> None:
    create(tenant, 2, PAST)

    def lock() -> None:
        HistoryTotal.objects.select_for_update().get(tenant=tenant)

    batches = prune(tenant.pk, timezone.now())
    with beside(lock):
        assert next(batches).deleted == 0
    assert sum(batch.deleted for batch in batches) == 2
    assert count_executions(tenant.pk) == 0


@pytest.mark.parametrize("max_moved", [3, 10])
def test_while_its_row_is_locked(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch, max_moved: int
) -> None:
    """The total is exact, also if there are many rows after it."""
    monkeypatch.setattr(counting, "MAX_ADDED", 0)
    monkeypatch.setattr(counting, "MAX_MOVED", max_moved)
    create(tenant, 5, PAST)
    with beside(lambda: HistoryTotal.objects.select_for_update().get(tenant=tenant)):
        assert count_executions(tenant.pk) == 5
    count_executions(tenant.pk)
    assert (count_executions(tenant.pk), stored(tenant)) == (5, 5)


@pytest.mark.slow
def test_while_rows_are_inserted_and_deleted(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By several sessions at once, in transactions of which some are rolled back."""
    monkeypatch.setattr(counting, "CLOSED_AFTER", timedelta(seconds=3))
    monkeypatch.setattr(counting, "MAX_WRITER_AGE", timedelta(seconds=1))
    tenant = TenantFactory.create()
    agent = AgentFactory.create(tenant=tenant)
    end, totals = time.monotonic() + 6, list[int]()

    def insert() -> None:
        age = random.choice((timedelta(), timedelta(), timedelta(seconds=30)))
        ExecutionFactory.create(agent=agent, created_at=timezone.now() - age)

    def delete() -> None:
        pks = Execution.objects.filter(tenant=tenant).order_by("?").values_list("pk", flat=True)
        with transaction.atomic():
            Execution.objects.filter(pk__in=[*pks[:3]]).delete()
            time.sleep(random.uniform(0, 0.05))
            transaction.set_rollback(random.random() < 0.3)

    def read() -> None:
        totals.append(count_executions(tenant.pk))

    def repeat(work: Callable[[], None]) -> None:
        while time.monotonic() < end:
            work()
        connection.close()

    at_once([partial(repeat, work) for work in (insert, insert, insert, delete, read, read)])
    assert max(totals) > 20
    expected = Execution.objects.filter(tenant=tenant).count()
    assert count_executions(tenant.pk) == expected
    time.sleep(3)
    assert (count_executions(tenant.pk), stored(tenant)) == (expected, expected)
