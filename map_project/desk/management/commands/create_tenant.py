"""`manage.py create_tenant …`: the tenants' command, and which models the tenant may use."""

from map_project.desk.allow_lists import ModelOptions
from map_project.tenants.management.commands import create_tenant


class Command(ModelOptions, create_tenant.Command):
    """As before; with `--models`, `--all-models`, `--no-models`."""
