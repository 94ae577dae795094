"""API keys: their generation, and the time of their last use."""

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


def set_tokens(monkeypatch: pytest.MonkeyPatch, *tokens: str) -> None:
    """Replace the next random tokens."""
    remaining: Iterator[str] = iter(tokens)
    monkeypatch.setattr(secrets, "token_urlsafe", lambda size: next(remaining))


def test_a_key_with_an_existing_prefix_is_generated_again(
    monkeypatch: pytest.MonkeyPatch, tenant: Tenant
) -> None:
    taken = issue_key(tenant=tenant)[0].prefix.removeprefix("map_")
    free = secrets.token_urlsafe(32)
    set_tokens(monkeypatch, taken + "x" * 35, taken + "y" * 35, free)
    row, key = issue_key(tenant=tenant)
    assert key == f"map_{free}"
    assert ApiKey.objects.filter(tenant=tenant).count() == 2
    assert row.key_hash == hash_key(key)


def test_other_integrity_errors_are_raised() -> None:
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
        written = self.written(key_row)
        assert written
        assert before <= written <= datetime.now(UTC)
        assert last_used._last_uses == {}

    def test_a_later_time_of_another_process_is_kept(self, key_row: ApiKey) -> None:
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
    def test_a_write_that_fails_is_repeated(
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

    def test_a_rejected_key_is_not_recorded_as_used(self, tenant: Tenant) -> None:
        api = api_of(tenant)
        ApiKey.objects.filter(tenant=tenant).update(revoked_at=datetime.now(UTC))
        assert api.get("tools").status == 401
        last_used.flush()
        assert ApiKey.objects.get(tenant=tenant).last_used_at is None
