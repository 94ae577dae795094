"""Keys: how they are drawn, and when they were last used."""

import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError, IntegrityError, InterfaceError

from map_project.tenants import last_used
from map_project.tenants.keys import hash_key, issue_key
from map_project.tenants.models import ApiKey, Tenant
from tests.conftest import api_of


def drawn(monkeypatch: pytest.MonkeyPatch, *tokens: str) -> None:
    """What chance draws next."""
    left: Iterator[str] = iter(tokens)
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: next(left))


def test_a_prefix_that_is_taken_is_drawn_again(
    monkeypatch: pytest.MonkeyPatch, tenant: Tenant
) -> None:
    taken = issue_key(tenant=tenant)[0].prefix.removeprefix("map_")
    free = secrets.token_urlsafe(32)
    drawn(monkeypatch, taken + "x" * 35, taken + "y" * 35, free)
    row, key = issue_key(tenant=tenant)
    assert key == f"map_{free}"
    assert ApiKey.objects.filter(tenant=tenant).count() == 2
    assert row.key_hash == hash_key(key)


def test_another_conflict_is_no_reason_to_draw_again() -> None:
    with pytest.raises(IntegrityError, match="tenant_id"):
        issue_key(tenant=Tenant(name="not saved"))


@pytest.mark.parametrize("text", ["", "x" * 100_000, "\u00e9", "\udcff", "\0"])
def test_any_text_has_a_hash(text: str) -> None:
    assert len(hash_key(text)) == 64


@pytest.fixture
def key_row(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> ApiKey:
    monkeypatch.setattr(last_used, "_last_uses", {})
    return issue_key(tenant=tenant)[0]


class TestLastUse:
    def written(self, row: ApiKey) -> datetime | None:
        row.refresh_from_db()
        return row.last_used_at

    def test_the_last_of_many_calls_is_written(self, key_row: ApiKey) -> None:
        for _ in range(3):
            before = datetime.now(UTC)
            last_used.note(key_row.pk)
        last_used.flush()
        found = self.written(key_row)
        assert found
        assert before <= found <= datetime.now(UTC)
        assert last_used._last_uses == {}

    def test_what_another_process_wrote_later_stays(self, key_row: ApiKey) -> None:
        last_used.note(key_row.pk)
        later = datetime.now(UTC) + timedelta(seconds=5)
        ApiKey.objects.filter(pk=key_row.pk).update(last_used_at=later)
        last_used.flush()
        assert self.written(key_row) == later

    def test_a_call_during_the_write_is_not_lost(
        self, key_row: ApiKey, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = ApiKey.objects.bulk_update

        def write_slowly(*args: Any, **kwargs: Any) -> int:
            last_used.note(key_row.pk)
            return write(*args, **kwargs)

        last_used.note(key_row.pk)
        monkeypatch.setattr(ApiKey.objects, "bulk_update", write_slowly)
        last_used.flush()
        assert key_row.pk in last_used._last_uses

    @pytest.mark.parametrize("error", [DatabaseError, InterfaceError])
    def test_a_write_that_fails_is_tried_again(
        self,
        key_row: ApiKey,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        error: type[Exception],
    ) -> None:
        def fail(*args: Any, **kwargs: Any) -> None:
            raise error("no database")

        last_used.note(key_row.pk)
        with monkeypatch.context() as patched:
            patched.setattr(ApiKey.objects, "bulk_update", fail)
            last_used._flush_quietly()
        assert "not written" in caplog.text
        assert self.written(key_row) is None
        last_used._flush_quietly()
        assert self.written(key_row)

    def test_a_refused_key_was_not_used(self, tenant: Tenant) -> None:
        api = api_of(tenant)
        ApiKey.objects.filter(tenant=tenant).update(revoked_at=datetime.now(UTC))
        assert api.get("tools").status == 401
        last_used.flush()
        assert ApiKey.objects.get(tenant=tenant).last_used_at is None
