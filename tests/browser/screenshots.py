"""`make screenshots`: writes docs/*.png anew, from a desk of its own with a month of history.

Not a test. It starts servers apart from all others, seeds them, serves, and looks.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
DOCS = CHECKOUT / "docs"
RUNS = 100_000
NAME, PASSWORD = "operator", "a desk for pictures"
SIZE = (1440, 900)


def main() -> None:
    """All of it."""
    from tests.browser import chromium

    if chromium.executable() is None:
        sys.exit(f"None of these is installed: {', '.join(chromium.NAMES)}.")
    with servers() as environment:
        os.environ.update(environment)
        manage("migrate", "--verbosity", "0")
        manage("seed_demo", "--force", "--history", str(RUNS))
        manage("create_operator", NAME, "--password", PASSWORD)
        django_setup()
        take_pictures()


@contextmanager
def servers() -> Iterator[dict[str, str]]:
    """A PostgreSQL and a Redis that nobody else uses; their addresses."""
    from map_project.embedded import location
    from map_project.embedded.servers import running

    with tempfile.TemporaryDirectory(prefix="map-pictures-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        own = location(Path(folder))
        with running(own, durable=False):
            secret = "a key of fifty characters or more, for pictures alone"
            yield {
                "DATABASE_URL": own.database_url,
                "REDIS_URL": own.redis_url,
                "SECRET_KEY": secret,
                "DJANGO_SETTINGS_MODULE": "map_project.settings",
                "DJANGO_ALLOW_ASYNC_UNSAFE": "1",
            }


def manage(*arguments: str) -> None:
    """A `manage.py` command."""
    subprocess.run([sys.executable, "manage.py", *arguments], cwd=CHECKOUT, check=True)


def django_setup() -> None:
    """The settings are read now, with the addresses in the environment."""
    import django

    django.setup()


def take_pictures() -> None:
    """Of the dashboard, a tenant, an execution; as somebody sees them at noon."""
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
    }
    heights = {"dashboard": 0, "tenant": SIZE[1], "execution": 760}
    with (
        serving() as port,
        chromium.running() as browser,
        chromium.visit(browser, port, SIZE) as desk,
    ):
        desk.sign_in(NAME, PASSWORD)
        use_quotas()
        for name, path in pages.items():
            desk.open(path)
            whole = desk.page.evaluate("document.documentElement.scrollHeight")
            desk.page.set_viewport_size({"width": SIZE[0], "height": heights[name] or whole})
            desk.page.wait_for_load_state("networkidle")
            desk.page.screenshot(path=DOCS / f"desk-{name}.png")
            print(f"docs/desk-{name}.png")


def use_quotas() -> None:
    """Takes some units, so that there is something in use."""
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
        of = quota(Tenant.objects.get(name=name))
        for _ in range(units):
            limiter.take(of.tenant_id, limit=of.limit, window_seconds=of.window_seconds)


if __name__ == "__main__":
    main()
