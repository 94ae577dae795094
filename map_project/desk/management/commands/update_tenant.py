"""`manage.py update_tenant …`: the tenants' command, and which models the tenant may use."""

from map_project.desk.allow_lists import ModelOptions
from map_project.tenants.management.commands import update_tenant


class Command(ModelOptions, update_tenant.Command):
    """As before; with `--models`, `--all-models`, `--no-models`."""
