from django.apps import AppConfig, apps
from django.contrib import admin
from django.contrib.admin.apps import AdminConfig


class DeskAdminConfig(AdminConfig):
    """Django's admin with our site."""

    default_site = "map_project.desk.site.DeskSite"

    def ready(self) -> None:
        super().ready()
        # Jobs only carry IDs. The history and the dashboard show what they are about.
        admin.site.unregister(
            filter(admin.site.is_registered, apps.get_app_config("procrastinate").get_models())
        )


class DeskConfig(AppConfig):
    """The admin's dashboard, reports and staff accounts."""

    name = "map_project.desk"
    verbose_name = "Admin"
