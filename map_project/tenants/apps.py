from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Tenants and API keys."""

    name = "map_project.tenants"
    verbose_name = "Customers"

    def ready(self) -> None:
        from map_project.tenants import openapi  # noqa: F401  registers the security scheme
