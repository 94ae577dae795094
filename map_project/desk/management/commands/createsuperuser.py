"""`manage.py createsuperuser`: Django's command, with an entry in the audit log."""

from typing import Any

from django.contrib.admin.models import ADDITION
from django.contrib.auth.management.commands import createsuperuser
from django.contrib.auth.models import User

from map_project.api import audit


class Command(createsuperuser.Command):
    """The name can also come from a prompt or from the environment."""

    def handle(self, *args: Any, **options: Any) -> None:
        newest = User.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
        super().handle(*args, **options)
        for user in User.objects.filter(pk__gt=newest, is_superuser=True):
            values = {"username": user.username, "email": user.email, "role": "superuser"}
            audit.record(user, audit.changes({}, values), flag=ADDITION)
