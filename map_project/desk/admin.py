"""Import the modules that register the admin's pages."""

from map_project.desk import api_keys, staff, tenants  # noqa: F401
from map_project.desk.audit_log import admin  # noqa: F401
