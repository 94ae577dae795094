"""The desk's place among the applications.

Nothing of the admin is imported until somebody opens it: the first request below /admin/ loads
`map_project.desk.urls`, which discovers the rest. Processes that serve the API alone stay small.
"""

from collections.abc import Sequence
from typing import Any

from axes.apps import AppConfig as AxesAppConfig
from django.apps import AppConfig
from django.contrib.admin.apps import SimpleAdminConfig
from django.contrib.admin.checks import check_dependencies
from django.core import checks


class DeskAdminConfig(SimpleAdminConfig):
    """Django's admin with our site, discovered late."""

    default_site = "map_project.desk.site.DeskSite"

    def ready(self) -> None:
        checks.register(check_dependencies, checks.Tags.admin)
        checks.register(check_discovered, checks.Tags.admin)


class ThemeConfig(AppConfig):
    """Unfold's templates and static files; its own configurations import its site, forms and widgets."""

    name = "unfold"


class AxesConfig(AxesAppConfig):
    """axes, which is woken by `map_project.desk.urls`: nobody signs in but below it."""

    def ready(self) -> None:
        pass


class DeskConfig(AppConfig):
    """The operator's desk."""

    name = "map_project.desk"
    verbose_name = "Desk"


def check_discovered(
    app_configs: Sequence[AppConfig] | None, **options: Any
) -> list[checks.CheckMessage]:
    """Django's checks of every ModelAdmin, once they are there."""
    from django.contrib.admin.sites import site

    from map_project.desk import urls  # noqa: F401  discovers

    found: list[checks.CheckMessage] = site.check(app_configs)
    return found
