"""What `admin.autodiscover` looks for."""

from map_project.desk import staff, tenants  # noqa: F401  each registers its own
