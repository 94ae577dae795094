from django.apps import AppConfig


class TenantsConfig(AppConfig):
    """Tenants and API keys."""

    name = "map_project.tenants"
    verbose_name = "Customers"

    def ready(self) -> None:
        # They register the security scheme and the error codes.
        from map_project.tenants import openapi  # noqa: F401
        from map_project.tenants.self_service import errors  # noqa: F401
