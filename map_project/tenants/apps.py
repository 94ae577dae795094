from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Tenants, their keys, and everything that scopes by tenant."""

    name = "map_project.tenants"
    verbose_name = "Customers"
