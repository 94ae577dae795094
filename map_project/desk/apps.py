from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class DeskAdminConfig(AdminConfig):
    """Django's admin with our site."""

    default_site = "map_project.desk.site.DeskSite"


class DeskConfig(AppConfig):
    """The admin's dashboard, reports and staff accounts."""

    name = "map_project.desk"
    verbose_name = "Admin"
