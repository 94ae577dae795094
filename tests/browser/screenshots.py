"""`make screenshots`: write docs/*.png from an admin with a month of demo history.

`python -m tests.browser.screenshots failures` writes only docs/admin-failures.png.

Not a test. It starts its own servers, seeds them and takes screenshots of a live server.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
DOCS = CHECKOUT / "docs"
RUNS = 100_000
NAME, PASSWORD = "operator", "a password for screenshots"
SIZE = (1440, 900)


def main() -> None:
    """Write all screenshots."""
    from tests.browser import chromium

    if chromium.executable() is None:
        sys.exit(f"None of these is installed: {', '.join(chromium.NAMES)}.")
    with servers() as environment:
        os.environ.update(environment)
        manage("migrate", "--verbosity", "0")
        manage("seed_demo", "--force", "--history", str(RUNS))
        manage("create_operator", NAME, "--password", PASSWORD)
        django_setup()
        take_screenshots()


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """Start a PostgreSQL and a Redis server, and yield the environment for them."""
    from map_project.embedded import location
    from map_project.embedded.servers import running

    with tempfile.TemporaryDirectory(
        prefix="map-screenshots-", ignore_cleanup_errors=True
    ) as folder:
        Path(folder).chmod(0o755)
        place = location(Path(folder))
        with running(place, durable=False):
            secret = "a key for screenshots only, with more than fifty characters"
            yield {
                "DATABASE_URL": place.database_url,
                "REDIS_URL": place.redis_url,
                "SECRET_KEY": secret,
                "DJANGO_SETTINGS_MODULE": "map_project.settings",
                "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
            }


def manage(*arguments: str) -> None:
    """Run a `manage.py` command."""
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=CHECKOUT, check=True)


def django_setup() -> None:
    """Read the settings. The addresses must be in the environment."""
    import django

    django.setup()


def take_screenshots() -> None:
    """Take screenshots of the pages that are named on the command line, or of all."""
    from executions.models import Execution
    from map_project.tenants.models import Tenant
    from tests.browser import chromium
    from tests.live import serving

    tenant = Tenant.objects.get(name="Northwind Trading")
    execution = Execution.objects.filter(
        tenant=tenant, prompt__startswith="Ticket", steps__kind="tool"
    ).first()
    assert execution
    pages = {
        "dashboard": "/admin/",
        "tenant": f"/admin/tenants/tenant/{tenant.pk}/change/",
        "execution": f"/admin/executions/execution/{execution.pk}/change/",
        "queue": "/admin/queue/",
        "log": "/admin/admin/logentry/",
        "failures": "/admin/failures/?period=24h",
        "tool-calls": "/admin/tool-calls/?period=24h",
        "usage": f"/admin/usage/?tenant={tenant.pk}",
    }
    heights = {
        "tenant": SIZE[1],
        "execution": 760,
        "queue": 900,
        "log": 800,
        "failures": 1_000,
        "tool-calls": 900,
        "usage": 1_000,
    }
    selected = sys.argv[1:] or [*pages]
    with (
        serving() as port,
        chromium.running() as browser,
        chromium.visit(browser, port, SIZE) as desk,
    ):
        desk.sign_in(NAME, PASSWORD)
        use_quotas()
        create_unfinished_runs()
        create_log_entries()
        for name in selected:
            desk.open(pages[name])
            full_height = desk.page.evaluate("document.documentElement.scrollHeight")
            desk.page.set_viewport_size(
                {"width": SIZE[0], "height": heights.get(name, full_height)}
            )
            desk.page.wait_for_load_state("networkidle")
            desk.page.screenshot(path=DOCS / f"admin-{name}.png")
            print(f"docs/admin-{name}.png")


def use_quotas() -> None:
    """Take some units, so that the pages show usage."""
    from map_project.desk.quotas import quota
    from map_project.tenants.models import Tenant
    from ratelimit.limiter import default_limiter

    limiter = default_limiter()
    for name, units in {
        "Helvetia Biolabs": 100,
        "Kaito Logistics": 84,
        "Northwind Trading": 137,
        "Acme Robotics": 161,
        "Solaris Energy": 33,
        "Lindqvist & Partners": 12,
    }.items():
        tenant_quota = quota(Tenant.objects.get(name=name))
        for _ in range(units):
            limiter.take(
                tenant_quota.tenant_id,
                limit=tenant_quota.limit,
                window_seconds=tenant_quota.window_seconds,
            )


def create_unfinished_runs() -> None:
    """Create runs in progress, in the queue, and waiting for approval, and a worker."""
    from django.db import connection
    from django.utils import timezone

    from agents.models import Agent
    from tests.factories import ApprovalFactory, ExecutionFactory

    now = timezone.now()
    agents = list(Agent.objects.order_by("-name"))
    kinds = ["running"] * 3 + ["queued"] * 5 + ["requires_action"] * 2
    for number, (agent, status) in enumerate(zip(agents, kinds, strict=False)):
        run = ExecutionFactory.create(
            agent=agent,
            status=status,
            stop_reason="",
            background=True,
            lease_owner="worker-1:24:8f0ad3b1" if status == "running" else "",
            lease_expires_at=now + timedelta(hours=1) if status == "running" else None,
            awaits_slot=number == len(kinds) - 3,
            created_at=now - timedelta(seconds=600 / (number % 5 + 1)),
        )
        if status == "requires_action":
            ApprovalFactory.create(execution=run, expires_at=now + timedelta(hours=20))
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO procrastinate_workers DEFAULT VALUES")


def create_log_entries() -> None:
    """Change some rows as an operator, as a tenant and in a command."""
    from django.contrib.auth.models import User

    from agents.models import Agent
    from map_project.api import audit
    from map_project.tenants.keys import issue_key, revoke_key
    from map_project.tenants.models import Tenant

    operator = User.objects.get(username=NAME)
    tenant = Tenant.objects.get(name="Northwind Trading")
    agent = Agent.objects.filter(tenant=tenant).earliest("name")
    key, _ = issue_key(tenant=tenant, name="production", user=operator)
    revoke_key(key=key, user=audit.KeyActor("map_8Zq1xvKd"))
    for row, user, before, after in (
        (
            agent,
            operator,
            {"max_steps": None, "role": "analyst"},
            {"max_steps": 12, "role": "auditor"},
        ),
        (tenant, None, {"rate_limit_requests": 300}, {"rate_limit_requests": 600}),
        (
            Tenant.objects.get(name="Solaris Energy"),
            operator,
            {"is_active": True},
            {"is_active": False},
        ),
    ):
        audit.record(row, audit.changes(before, after), user=user)


if __name__ == "__main__":
    main()
