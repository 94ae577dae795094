"""`/api/v1/keys`: a key with the scope `keys` manages the keys of its tenant."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.utils import timezone

from map_project.api.audit import API
from map_project.tenants import last_used
from map_project.tenants.keys import hash_key, issue_key, revoke_key
from map_project.tenants.models import ApiKey, Tenant
from map_project.tenants.scopes import DEFAULT_SCOPES, SCOPES
from tests.api import Answer, Api
from tests.conftest import api_of
from tests.factories import TenantFactory

FIELDS = [
    *("id", "prefix", "name", "scopes", "created_by", "created_at"),
    *("last_used_at", "expires_at", "revoked_at"),
]
LATER = "2199-01-31T12:00:00Z"
SOON = timedelta(days=2)


@pytest.fixture
def manager(tenant: Tenant) -> Api:
    """A client whose key has all scopes."""
    return api_of(tenant, SCOPES)


def row_of(api: Api) -> ApiKey:
    return ApiKey.objects.get(key_hash=hash_key(api.key or ""))


def client_of(tenant: Tenant, scopes: Sequence[str], expires_in: timedelta) -> Api:
    return Api(issue_key(tenant=tenant, scopes=scopes, expires_in=expires_in)[1])


def log_messages(row: Tenant | ApiKey) -> list[str]:
    """Return the entries about a row. The last one is that of a request."""
    entries = [*LogEntry.objects.filter(object_id=str(row.pk)).order_by("pk")]
    assert entries[-1].user.get_username() == API
    return [entry.get_change_message() for entry in entries]


def is_insufficient(response: Answer, required: str, granted: Sequence[str]) -> bool:
    return (response.status, response.error_code, response.details) == (
        403,
        "INSUFFICIENT_SCOPE",
        {"required": required, "granted": [*granted]},
    )


def time_of(text: str) -> datetime:
    return datetime.fromisoformat(text)


class TestCreate:
    def test_a_key_is_shown_once_and_works_at_once(self, manager: Api) -> None:
        body = {"name": "ci", "scopes": ["run", "read", "run"], "expires_at": LATER}
        response = manager.post("keys", body)
        assert response.status == 201
        assert response.headers["cache-control"] == "no-store"
        created = response.json
        key = created.pop("key")
        assert list(created) == FIELDS
        row = ApiKey.objects.get(key_hash=hash_key(key))
        assert created == {
            "id": str(row.pk),
            "prefix": key[:12],
            "name": "ci",
            "scopes": ["read", "run"],
            "created_by": row_of(manager).prefix,
            "created_at": created["created_at"],
            "last_used_at": None,
            "expires_at": LATER,
            "revoked_at": None,
        }
        assert time_of(created["created_at"]) == row.created_at
        assert Api(key).get("me").json["scopes"] == ["read", "run"]
        assert manager.get(f"keys/{row.pk}").json == created

    def test_all_fields_are_optional(self, manager: Api, tenant: Tenant) -> None:
        created = manager.post("keys", {}).json
        assert (created["name"], created["expires_at"]) == ("", None)
        assert created["scopes"] == [*DEFAULT_SCOPES]
        assert ApiKey.objects.get(pk=created["id"]).scopes is None
        assert ApiKey.objects.get(pk=created["id"]).tenant == tenant

    @pytest.mark.parametrize(
        ("granted", "sent", "required"),
        [
            (["keys"], {"scopes": ["read"]}, "read"),
            (["read", "keys"], {"scopes": ["approve", "run", "read"]}, "run"),
            (["keys"], {}, "read"),
            (["read", "run", "approve", "keys"], {}, "write"),
        ],
    )
    def test_a_key_is_not_wider_than_its_creator(
        self, *, tenant: Tenant, granted: list[str], sent: dict[str, Any], required: str
    ) -> None:
        assert is_insufficient(api_of(tenant, granted).post("keys", sent), required, granted)
        assert tenant.api_keys.count() == 1

    def test_a_key_that_manages_keys_can_create_another_one(self, tenant: Tenant) -> None:
        created = api_of(tenant, ["keys"]).post("keys", {"scopes": ["keys"]}).json
        assert Api(created["key"]).get("keys").json["total"] == 2

    def test_a_key_does_not_outlive_its_creator(self, tenant: Tenant) -> None:
        api = client_of(tenant, SCOPES, SOON)
        end = row_of(api).expires_at
        assert end
        late = (end + timedelta(seconds=1)).isoformat()
        assert api.post("keys", {"expires_at": late}).fields == {
            "expires_at": ["A key cannot expire later than the key that creates it."]
        }
        assert tenant.api_keys.count() == 1
        for sent in ({}, {"expires_at": None}, {"expires_at": end.isoformat()}):
            assert time_of(api.post("keys", sent).json["expires_at"]) == end
        early = end - timedelta(hours=1)
        created = api.post("keys", {"expires_at": early.isoformat()}).json
        assert time_of(created["expires_at"]) == early

    @pytest.mark.parametrize(
        "text",
        ["2199-01-31T12:00:00.5+02:00", "2199-01-31t10:00:00.500000z", "2199-01-31T10:00:00.5Z"],
    )
    def test_times_are_in_rfc_3339(self, manager: Api, text: str) -> None:
        expires_at = manager.post("keys", {"expires_at": text}).json["expires_at"]
        assert expires_at == "2199-01-31T10:00:00.500000Z"

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("name", None, "This field may not be null."),
            ("name", "x" * 101, "Ensure this field has no more than 100 characters."),
            ("name", 1, "Not a valid string."),
            ("scopes", None, "This field may not be null."),
            ("scopes", [], "Expected a list of scopes, at least one."),
            ("scopes", "read", "Expected a list of scopes, at least one."),
            ("scopes", ["admin"], "Each item must be one of read, write, run, approve, keys."),
            ("scopes", [["read"]], "Each item must be one of read, write, run, approve, keys."),
            ("expires_at", "2020-01-01T00:00:00Z", "The time must be in the future."),
            ("expires_at", "2199-01-31", "Expected a time in RFC 3339"),
        ],
    )
    def test_an_invalid_field_creates_nothing(
        self, *, manager: Api, tenant: Tenant, field: str, value: Any, message: str
    ) -> None:
        fields = manager.post("keys", {field: value}).fields
        assert list(fields) == [field]
        assert fields[field][0].startswith(message)
        assert tenant.api_keys.count() == 1

    @pytest.mark.parametrize("field", ["prefix", "key", "key_hash", "tenant_id", "created_by", "x"])
    def test_unknown_fields_are_rejected(self, manager: Api, tenant: Tenant, field: str) -> None:
        assert manager.post("keys", {field: "x"}).fields == {field: ["Unknown field."]}
        assert tenant.api_keys.count() == 1

    def test_an_empty_body_is_rejected(self, manager: Api) -> None:
        assert manager.post("keys").error_code == "MALFORMED_JSON"

    def test_the_log_names_the_key_of_the_request(self, manager: Api, tenant: Tenant) -> None:
        row = ApiKey.objects.get(pk=manager.post("keys", {"name": "ci"}).json["id"])
        actor = f"By the API key {row_of(manager).prefix}: "
        assert log_messages(row) == [f'{actor}Issued. name: "ci"']
        assert log_messages(tenant)[-1] == f"{actor}Issued the API key {row.prefix}."


class TestList:
    def test_the_oldest_is_first_and_revoked_keys_stay(self, manager: Api, tenant: Tenant) -> None:
        expired, _ = issue_key(tenant=tenant, name="old", scopes=["read"])
        ApiKey.objects.filter(pk=expired.pk).update(expires_at=datetime(2026, 1, 2, tzinfo=UTC))
        revoked, _ = issue_key(tenant=tenant)
        revoke_key(key=revoked)
        own, first, second = manager.get("keys").json["items"]
        assert [own["prefix"], first["prefix"], second["prefix"]] == [
            *(row_of(manager).prefix, expired.prefix, revoked.prefix)
        ]
        assert (first["expires_at"], first["revoked_at"]) == ("2026-01-02T00:00:00Z", None)
        assert second["revoked_at"]
        assert (first["scopes"], second["scopes"]) == (["read"], [*DEFAULT_SCOPES])
        # Operators are not named.
        assert own["created_by"] is None

    def test_no_response_has_a_hash_or_the_key(self, manager: Api) -> None:
        row = row_of(manager)
        for path in ("keys", f"keys/{row.pk}"):
            text = manager.get(path).content.decode()
            assert row.prefix in text
            assert row.key_hash not in text
            assert str(manager.key) not in text

    def test_it_has_pages(self, manager: Api, tenant: Tenant) -> None:
        for number in range(3):
            issue_key(tenant=tenant, name=str(number))
        page = manager.get("keys?limit=2&offset=1").json
        assert [item["name"] for item in page["items"]] == ["0", "1"]
        assert (page["total"], page["has_more"]) == (4, True)
        assert manager.get("keys?limit=101").error_code == "INVALID_PAGINATION"
        assert manager.get("keys?name=1").error_code == "BAD_REQUEST"

    def test_the_last_use_is_shown(self, manager: Api) -> None:
        last_used.flush()
        before = timezone.now()
        manager.get("me")
        last_used.flush()
        (own,) = manager.get("keys").json["items"]
        assert before <= time_of(own["last_used_at"]) <= timezone.now()


class TestRevoke:
    def test_a_revoked_key_is_rejected_and_stays_in_the_list(
        self, manager: Api, tenant: Tenant
    ) -> None:
        row, key = issue_key(tenant=tenant)
        response = manager.delete(f"keys/{row.pk}")
        assert (response.status, response.content) == (204, b"")
        assert Api(key).get("tools").error_code == "INVALID_API_KEY"
        revoked_at = manager.get(f"keys/{row.pk}").json["revoked_at"]
        assert manager.delete(f"keys/{row.pk}").status == 204
        assert manager.get(f"keys/{row.pk}").json["revoked_at"] == revoked_at
        actor = f"By the API key {row_of(manager).prefix}: "
        assert log_messages(row)[1].startswith(f"{actor}Revoked. revoked_at: null")
        assert len(log_messages(row)) == 2
        assert log_messages(tenant)[-1] == f"{actor}Revoked the API key {row.prefix}."

    def test_a_wider_key_can_be_revoked(self, manager: Api, tenant: Tenant) -> None:
        row = row_of(manager)
        assert api_of(tenant, ["keys"]).delete(f"keys/{row.pk}").status == 204
        row.refresh_from_db()
        assert row.revoked_at

    def test_a_key_can_revoke_itself(self, manager: Api) -> None:
        row = row_of(manager)
        assert manager.delete(f"keys/{row.pk}").status == 204
        row.refresh_from_db()
        assert row.revoked_at

    def test_a_key_that_is_revoked_creates_no_key_while_it_is_cached(
        self, manager: Api, tenant: Tenant
    ) -> None:
        other, _ = issue_key(tenant=tenant)
        assert manager.get("keys").status == 200
        revoke_key(key=row_of(manager))
        for path in ("keys", f"keys/{other.pk}/rotate"):
            response = manager.post(path, {})
            assert (response.status, response.error_code) == (401, "INVALID_API_KEY")
            assert response.headers["www-authenticate"]
        assert tenant.api_keys.count() == 2


class TestRotate:
    @pytest.mark.parametrize("grace_seconds", [None, 0, 3600])
    def test_a_key_is_replaced(
        self, manager: Api, tenant: Tenant, grace_seconds: int | None
    ) -> None:
        old, old_key = issue_key(tenant=tenant, name="ci", scopes=["read", "keys"])
        body = None if grace_seconds is None else {"grace_seconds": grace_seconds}
        before = timezone.now()
        response = manager.post(f"keys/{old.pk}/rotate", body)
        assert response.status == 201
        assert response.headers["cache-control"] == "no-store"
        created = response.json
        key = created.pop("key")
        assert list(created) == FIELDS
        assert created["id"] != str(old.pk)
        assert (created["name"], created["scopes"]) == ("ci", ["read", "keys"])
        assert (created["expires_at"], created["created_by"]) == (None, row_of(manager).prefix)
        assert Api(key).get("me").json["api_key"]["name"] == "ci"
        old.refresh_from_db()
        if grace_seconds:
            assert Api(old_key).get("me").status == 200
            assert old.expires_at
            assert before <= old.expires_at - timedelta(seconds=grace_seconds) <= timezone.now()
        else:
            assert Api(old_key).get("me").status == 401
            assert old.revoked_at
        actor = f"By the API key {row_of(manager).prefix}: "
        assert log_messages(old)[-1].startswith(f"{actor}Rotated. New key: {created['prefix']}.")

    def test_a_key_can_rotate_itself(self, manager: Api) -> None:
        me = manager.get("me").json["api_key"]["id"]
        new = Api(manager.post(f"keys/{me}/rotate", {"grace_seconds": 60}).json["key"])
        assert new.get("me").json["scopes"] == [*SCOPES]
        assert new.delete(f"keys/{me}").status == 204

    @pytest.mark.parametrize("scopes", [None, ["read", "write", "keys"]])
    def test_a_wider_key_is_not_rotated(self, tenant: Tenant, scopes: list[str] | None) -> None:
        old, old_key = issue_key(tenant=tenant, scopes=scopes)
        granted = ["read", "run", "approve", "keys"]
        response = api_of(tenant, granted).post(f"keys/{old.pk}/rotate", {})
        assert is_insufficient(response, "write", granted)
        assert Api(old_key).get("tools").status == 200
        assert tenant.api_keys.count() == 2

    def test_the_new_key_does_not_outlive_the_key_of_the_request(self, tenant: Tenant) -> None:
        api = client_of(tenant, SCOPES, SOON)
        end = row_of(api).expires_at
        for lifetime in (None, timedelta(days=30)):
            old, _ = issue_key(tenant=tenant, expires_in=lifetime)
            new = api.post(f"keys/{old.pk}/rotate", {}).json
            assert time_of(new["expires_at"]) == end
        shorter, _ = issue_key(tenant=tenant, expires_in=timedelta(days=1))
        new = api.post(f"keys/{shorter.pk}/rotate", {}).json
        assert shorter.expires_at
        assert abs(time_of(new["expires_at"]) - shorter.expires_at) < timedelta(minutes=5)
        # Also when it rotates itself.
        itself = api.post(f"keys/{row_of(api).pk}/rotate", {"grace_seconds": 60}).json
        assert time_of(itself["expires_at"]) == end

    @pytest.mark.parametrize("days", [None, 90])
    def test_a_second_rotation_within_the_grace_period(
        self, manager: Api, tenant: Tenant, days: int | None
    ) -> None:
        """The grace period shortens the lifetime of the old key, not of those that replace it."""
        lifetime = days and timedelta(days=days)
        old, _ = issue_key(tenant=tenant, expires_in=lifetime or None)
        path = f"keys/{old.pk}/rotate"
        manager.post(path, {"grace_seconds": 600})
        old.refresh_from_db()
        end_of_grace = old.expires_at
        for _ in range(2):
            new = manager.post(path, {"grace_seconds": 3600}).json
            created_at, expires_at = new["created_at"], new["expires_at"]
            if lifetime:
                difference = time_of(expires_at) - time_of(created_at) - lifetime
                assert abs(difference) < timedelta(minutes=5)
            else:
                assert expires_at is None
        old.refresh_from_db()
        assert old.expires_at == end_of_grace

    def test_a_key_in_its_grace_period_makes_no_key_that_outlives_it(self, manager: Api) -> None:
        """Otherwise a leaked key that was rotated could be used to stay in."""
        me = manager.get("me").json["api_key"]["id"]
        manager.post(f"keys/{me}/rotate", {"grace_seconds": 600})
        end = row_of(manager).expires_at
        again = manager.post(f"keys/{me}/rotate", {"grace_seconds": 600}).json
        assert time_of(again["expires_at"]) == end

    def test_a_revoked_or_expired_key_is_not_rotated(self, manager: Api, tenant: Tenant) -> None:
        revoked, _ = issue_key(tenant=tenant)
        revoke_key(key=revoked)
        expired, _ = issue_key(tenant=tenant)
        ApiKey.objects.filter(pk=expired.pk).update(expires_at=timezone.now())
        for row in (revoked, expired):
            response = manager.post(f"keys/{row.pk}/rotate", {})
            assert (response.status, response.error_code) == (409, "KEY_NOT_VALID")
            assert response.details == {"key_id": str(row.pk)}
        assert tenant.api_keys.count() == 3

    @pytest.mark.parametrize("value", [-1, 2_592_001, "60", 1.5, True, None])
    def test_an_invalid_grace_changes_nothing(
        self, manager: Api, tenant: Tenant, value: Any
    ) -> None:
        old, _ = issue_key(tenant=tenant)
        fields = manager.post(f"keys/{old.pk}/rotate", {"grace_seconds": value}).fields
        assert list(fields) == ["grace_seconds"]
        old.refresh_from_db()
        assert old.revoked_at is None
        assert tenant.api_keys.count() == 2

    def test_unknown_fields_are_rejected(self, manager: Api, tenant: Tenant) -> None:
        old, _ = issue_key(tenant=tenant)
        response = manager.post(f"keys/{old.pk}/rotate", {"grace": 60})
        assert response.fields["grace"][0].startswith("Unknown field.")
        assert manager.post(f"keys/{old.pk}/rotate", raw=b"[]").fields == {}
        assert tenant.api_keys.count() == 2


@pytest.mark.parametrize(("method", "suffix"), [("GET", ""), ("DELETE", ""), ("POST", "/rotate")])
def test_foreign_and_unknown_keys(manager: Api, method: str, suffix: str) -> None:
    foreign, key = issue_key(tenant=TenantFactory.create(), scopes=["read"])
    response = manager.call(method, f"keys/{foreign.pk}{suffix}")
    assert (response.status, response.error_code) == (403, "TENANT_ISOLATION_VIOLATION")
    assert response.details == {"resource_type": "key", "resource_id": str(foreign.pk)}
    for pk in (str(uuid4()), "no-id", foreign.prefix):
        response = manager.call(method, f"keys/{pk}{suffix}")
        assert (response.status, response.error_code) == (404, "KEY_NOT_FOUND")
        assert response.details == {"key_id": pk}
    assert Api(key).get("tools").status == 200


def test_keys_are_not_changed(manager: Api) -> None:
    path = f"keys/{row_of(manager).pk}"
    for method in ("PUT", "PATCH"):
        assert manager.call(method, path, {"name": "x"}).error_code == "METHOD_NOT_ALLOWED"
