"""`manage.py create_operator USERNAME [--email E] [--auditor|--superuser] [--password P|--password-stdin]`"""

import sys
from getpass import getpass
from typing import Any

from django.contrib.admin.models import ADDITION
from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from map_project.api import audit


class Command(BaseCommand):
    """Prompts for the password on a terminal, unless an option provides it."""

    help = "Create a staff user: an operator by default, or an auditor or a superuser."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--email", default="")
        role = parser.add_mutually_exclusive_group()
        role.add_argument(
            "--auditor",
            action="store_true",
            help="create an auditor, who can view everything but cannot change anything",
        )
        role.add_argument(
            "--superuser",
            action="store_true",
            help="create a superuser, who can also manage staff users",
        )
        password = parser.add_mutually_exclusive_group()
        password.add_argument(
            "--password", help="visible in the list of processes; prefer --password-stdin"
        )
        password.add_argument(
            "--password-stdin", action="store_true", help="read the first line of stdin"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        user = User(
            username=options["username"],
            email=options["email"],
            is_staff=True,
            is_superuser=options["superuser"],
        )
        try:
            user.full_clean(exclude=["password"])
            user.set_password(_read_password(user, options))
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        role = "superuser" if user.is_superuser else "auditor" if options["auditor"] else "operator"
        with transaction.atomic():
            user.save()
            if not user.is_superuser:
                # The groups are created in desk/migrations/0002_groups.py.
                user.groups.add(Group.objects.get(name=role))
            values = {"username": user.username, "email": user.email, "role": role}
            audit.record(user, audit.changes({}, values), flag=ADDITION)
        if options["verbosity"]:
            self.stdout.write(f'Created {role} "{user.username}".')


def _read_password(user: User, options: dict[str, Any]) -> str:
    """The password, after validation. Raises ValidationError and CommandError."""
    if options["password"] is not None:
        password: str = options["password"]
    elif options["password_stdin"]:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = getpass("Password: ")
        if getpass("Password (again): ") != password:
            raise CommandError("The passwords do not match.")
    else:
        raise CommandError("stdin is not a terminal: use --password-stdin or --password.")
    validate_password(password, user)
    return password
