"""`manage.py create_operator USERNAME [--email E] [--auditor|--superuser] [--password P|--password-stdin]`"""

import sys
from getpass import getpass
from typing import Any

from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from map_project.desk.groups import AUDITOR, OPERATOR


class Command(BaseCommand):
    """An account for the desk; the password is asked for at a terminal, unless an option brings it."""

    help = "Make a staff account: an operator, or with --auditor one who reads and changes nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--email", default="")
        kind = parser.add_mutually_exclusive_group()
        kind.add_argument(
            "--auditor", action="store_true", help="reads everything, changes nothing"
        )
        kind.add_argument("--superuser", action="store_true", help="manages staff accounts as well")
        password = parser.add_mutually_exclusive_group()
        password.add_argument("--password", help="seen by whoever lists processes; prefer the next")
        password.add_argument(
            "--password-stdin", action="store_true", help="the first line of stdin"
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
            user.set_password(_password(user, options))
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        group = None if options["superuser"] else AUDITOR if options["auditor"] else OPERATOR
        with transaction.atomic():
            user.save()
            if group:
                user.groups.add(Group.objects.get(name=group))
        if options["verbosity"]:
            self.stdout.write(f"{user.username} can sign in now, as {group or 'superuser'}.")


def _password(user: User, options: dict[str, Any]) -> str:
    """The password, found to be good. Raises ValidationError and CommandError."""
    if options["password"] is not None:
        password: str = options["password"]
    elif options["password_stdin"]:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty():
        password = getpass("Password: ")
        if getpass("Again: ") != password:
            raise CommandError("These are two different passwords.")
    else:
        raise CommandError("There is no terminal to ask at: use --password-stdin or --password.")
    validate_password(password, user)
    return password
