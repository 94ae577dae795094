"""The time ranges of `GET /api/v1/usage`, and the days of time zones."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from map_project.tenants.models import Tenant
from map_project.usage.periods import month_of
from tests.api import Api
from tests.factories import AgentFactory
from tests.usage import MARCH, NOON, ended, read, runs_by


def test_the_beginning_is_included_and_the_end_is_not(api: Api, tenant: Tenant) -> None:
    agent, hour = AgentFactory.create(tenant=tenant), timedelta(hours=1)
    for minutes in (-1, 0, 59, 60):
        ended(agent, NOON + timedelta(minutes=minutes))
    for begin, end, runs in (
        (NOON, NOON + hour, 2),
        (NOON - hour, NOON, 1),
        (NOON - hour, NOON + 2 * hour, 4),
    ):
        query = f"from={begin:%Y-%m-%dT%H:%M:%SZ}&to={end:%Y-%m-%dT%H:%M:%S.000Z}"
        assert read(api, query)["totals"]["runs"] == runs
    offset = f"from={NOON:%Y-%m-%dT}14:00:00%2B02:00&to={NOON:%Y-%m-%dt}09:00:00-04:00"
    assert read(api, offset)["totals"]["runs"] == 2


@pytest.mark.parametrize(
    ("zone", "moment", "day"),
    [
        ("Europe/Berlin", "2026-03-28T22:59:00", "2026-03-28"),
        ("Europe/Berlin", "2026-03-28T23:00:00", "2026-03-29"),
        # In this day, daylight saving time begins.
        ("Europe/Berlin", "2026-03-29T21:59:00", "2026-03-29"),
        ("Europe/Berlin", "2026-03-29T22:00:00", "2026-03-30"),
        ("America/Los_Angeles", "2026-03-15T06:59:00", "2026-03-14"),
        ("Pacific/Kiritimati", "2026-03-15T10:00:00", "2026-03-16"),
        # Daylight saving time begins at midnight: the day begins at 1.
        ("America/Havana", "2026-03-08T04:59:00", "2026-03-07"),
        ("America/Havana", "2026-03-08T05:00:00", "2026-03-08"),
    ],
)
def test_days_of_a_time_zone(api: Api, tenant: Tenant, zone: str, moment: str, day: str) -> None:
    ended(AgentFactory.create(tenant=tenant), datetime.fromisoformat(f"{moment}Z"))
    assert runs_by(api, "day", f"{MARCH}&timezone={zone}") == {day: 1}


def test_dates_are_days_of_the_time_zone(api: Api, tenant: Tenant) -> None:
    found = read(api, f"{MARCH}&timezone=Europe/Berlin")
    assert (found["from"], found["to"]) == ("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z")
    assert found["timezone"] == "Europe/Berlin"


def test_a_skipped_day_and_a_repeated_hour(api: Api, tenant: Tenant) -> None:
    """Samoa skipped December 30, 2011; Havana repeats the first hour of November 1, 2026."""
    agent = AgentFactory.create(tenant=tenant)
    for hour in (9, 10):
        ended(agent, datetime(2011, 12, 30, hour, tzinfo=UTC))
    samoa = "from=2011-12-29&to=2012-01-02&timezone=Pacific/Apia"
    assert runs_by(api, "day", samoa) == {"2011-12-29": 1, "2011-12-31": 1}
    for hour in (3, 4, 5):
        ended(agent, datetime(2026, 11, 1, hour, tzinfo=UTC))
    havana = "from=2026-10-31&to=2026-11-02&timezone=America/Havana"
    assert runs_by(api, "day", havana) == {"2026-10-31": 1, "2026-11-01": 2}


@pytest.mark.parametrize(
    "query",
    [
        f"{MARCH}&timezone=Asia/Kolkata",
        "timezone=Asia/Kathmandu",
        "from=2026-03-01T00:30:00Z",
        "from=2026-03-01T00:00:01Z",
        "from=2026-03-01T00:00:00.000001Z",
        "from=2026-03-01T00:00:00%2B05:30",
        "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&group_by=day&timezone=Asia/Kolkata",
    ],
)
def test_a_range_without_exact_totals_is_an_error(api: Api, query: str) -> None:
    response = api.get(f"usage?{query}")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert "not on a full hour of UTC" in response.json["message"]


@pytest.mark.parametrize(
    ("query", "moment"),
    [
        ("from=2026-03-01&timezone=Asia/Kolkata", "2026-03-01T00:00:00+05:30 (Asia/Kolkata)"),
        ("from=2026-03-01&timezone=Australia/Adelaide", "2026-03-01T00:00:00+10:30"),
        ("from=2026-03-01T00:00:00.000001Z", "2026-03-01T00:00:00.000001+00:00 (UTC)"),
        (
            "from=2026-03-01T00:00:00Z&to=2026-03-03T00:00:00Z&group_by=day&timezone=Asia/Kathmandu",
            "2026-03-02T00:00:00+05:45 (Asia/Kathmandu)",
        ),
    ],
)
def test_the_error_names_the_time_and_what_to_use(api: Api, query: str, moment: str) -> None:
    message = api.get(f"usage?{query}").json["message"]
    assert message.startswith(f"Usage is kept per hour of UTC: {moment}")
    assert message.endswith(
        "Use full hours of UTC without group_by=day, or days with timezone=UTC."
    )
    hours = "from=2026-02-28T18:00:00Z&timezone=Asia/Kolkata&to=2026-03-31T18:00:00Z"
    for instead in (hours, f"{MARCH}&timezone=UTC&group_by=day"):
        assert api.get(f"usage?{instead}").status == 200


def test_full_hours_in_any_time_zone(api: Api, tenant: Tenant) -> None:
    query = "from=2026-03-01T00:00:00Z&to=2026-03-02T00:00:00Z&timezone=Asia/Kolkata&group_by=agent"
    assert read(api, query)["items"] == []


def test_defaults_of_the_range(api: Api) -> None:
    assert read(api, "to=2026-03-15")["from"] == "2026-03-01T00:00:00Z"
    assert read(api, "to=2026-04-01")["from"] == "2026-03-01T00:00:00Z"
    first = month_of(timezone.now().date(), ZoneInfo("UTC")).begin - timedelta(days=40)
    found = read(api, f"from={first:%Y-%m-%d}")
    assert datetime.fromisoformat(found["to"]) > timezone.now()
    berlin = read(api, "to=2026-04-01&timezone=Europe/Berlin")
    assert (berlin["from"], berlin["to"]) == ("2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z")


@pytest.mark.parametrize("name", ["from", "to"])
@pytest.mark.parametrize(
    "value",
    ["1999-12-31", "2200-01-01", "9999-12-31", "0001-01-01T00:00:00Z", "1999-12-31T23:00:00-02:00"],
)
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_years_out_of_range(api: Api, name: str, value: str, zone: str) -> None:
    response = api.get(f"usage?{name}={value}&timezone={zone}")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert response.json["message"] == f"{name} is out of range. Use the years 2000 to 2199."


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/Los_Angeles"])
def test_the_first_and_the_last_day(api: Api, zone: str) -> None:
    for day in ("from=2000-01-01&to=2000-01-02", "from=2199-12-30&to=2199-12-31"):
        assert read(api, f"{day}&timezone={zone}")["items"] == []


@pytest.mark.parametrize("zone", ["UTC", "America/Santiago"])
def test_the_longest_range(api: Api, zone: str) -> None:
    assert read(api, f"from=2025-01-01&to=2026-02-05&group_by=day&timezone={zone}")["items"] == []


@pytest.mark.parametrize("zone", ["", "Mars/Base", "utc", "localtime", "Factory", "../etc/passwd"])
def test_time_zones_that_are_none(api: Api, zone: str) -> None:
    """Also not the one of the server."""
    response = api.get(f"usage?timezone={zone}")
    assert (response.status, response.error_code) == (400, "BAD_REQUEST")
    assert response.json["message"].startswith("timezone must be")
