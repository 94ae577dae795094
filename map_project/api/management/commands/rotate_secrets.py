"""Puts everything that is kept encrypted under the first key of `SECRETS_KEYS`."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from map_project.api import secrets
from map_project.postgresql.base import allow_any_time

_TOLD_EVERY = 1_000


class Command(BaseCommand):
    """`rotate_secrets`; it may be stopped and called again, and servers go on meanwhile."""

    help = (
        "Encrypts all secrets anew with the first key of SECRETS_KEYS, so that the others can be "
        "taken away. Put the new key first, restart every server, then call this."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.SECRETS_KEYS:
            raise CommandError(secrets.NO_KEYS)
        allow_any_time()
        unreadable = sum([self._column(column) for column in secrets.columns])
        if unreadable:
            raise CommandError(f"{unreadable} rows could not be opened with any key.")

    def _column(self, column: secrets.Column) -> int:
        """Gives the number of rows that no key opens."""
        seen = rotated = unreadable = 0
        for pk, token in column.tokens():
            seen += 1
            try:
                rotated += _rotate(column, pk, token)
            except secrets.Unreadable:
                unreadable += 1
                self.stderr.write(f"{column}: no key opens {pk}")
            if seen % _TOLD_EVERY == 0:
                self.stdout.write(f"{column}: {seen} rows seen …")
        self.stdout.write(f"{column}: {seen} rows, {rotated} of them put under the first key")
        return unreadable


def _rotate(column: secrets.Column, pk: Any, token: str) -> bool:
    """Whether it had to be. What somebody else writes meanwhile is not overwritten, but looked at."""
    while not secrets.is_current(token):
        rows = column.rows().filter(pk=pk)
        if rows.filter(**{column.field: token}).update(**{column.field: secrets.rotated(token)}):
            return True
        found = rows.values_list(column.field, flat=True).first()
        if found is None:
            return False
        token = found
    return False
