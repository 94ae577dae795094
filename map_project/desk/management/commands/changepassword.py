"""`manage.py changepassword [USERNAME]`: Django's command, with an entry in the audit log."""

import getpass
from typing import Any

from django.contrib.auth.management.commands import changepassword
from django.contrib.auth.models import User

from map_project.api import audit


class Command(changepassword.Command):
    """Raises CommandError if the password is not changed."""

    def handle(self, *args: Any, **options: Any) -> str | None:
        result: str | None = super().handle(*args, **options)
        user = User.objects.get(username=options["username"] or getpass.getuser())
        audit.record(user, "password: changed")
        return result
