"""The lock after failed sign-ins (django-axes), with an entry in the audit log when a command resets it."""

from typing import Any

from axes.handlers.database import AxesDatabaseHandler
from axes.models import AccessAttempt

from map_project.api import audit


class AuditedHandler(AxesDatabaseHandler):
    """The setting `AXES_HANDLER`."""

    def reset_attempts(self, **options: Any) -> int:
        """The commands `axes_reset`, `axes_reset_ip` and `axes_reset_username` call this."""
        count = int(super().reset_attempts(**options))
        if count:
            only = "; ".join(f"{name}: {value}" for name, value in options.items() if value)
            audit.record_many(AccessAttempt, f"{count} deleted. {only}".strip())
        return count
