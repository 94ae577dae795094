"""`manage.py rotate_secrets`"""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from map_project.api import audit, secrets
from map_project.postgresql.base import allow_any_time

_ROWS_PER_PROGRESS_LINE = 1_000


class Command(BaseCommand):
    """Can be stopped and started again at any time, while servers run."""

    help = (
        "Encrypt all secrets with the first key of SECRETS_KEYS, so that the other keys can be "
        "removed. Put the new key first and restart every server before you run this command."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.SECRETS_KEYS:
            raise CommandError(secrets.NO_KEYS)
        allow_any_time()
        unreadable = sum([self._rotate_field(field) for field in secrets.token_fields()])
        if unreadable:
            raise CommandError(f"{unreadable} rows cannot be decrypted with any key.")

    def _rotate_field(self, field: secrets.TokenField) -> int:
        """Rotate the tokens of one column; return the number of rows that no key decrypts."""
        seen = rotated = unreadable = 0
        for pk, token in secrets.tokens(field):
            seen += 1
            try:
                rotated += _rotate_row(field, pk, token)
            except secrets.Unreadable:
                unreadable += 1
                self.stderr.write(f"{field}: no key decrypts {pk}")
            if seen % _ROWS_PER_PROGRESS_LINE == 0:
                self.stdout.write(f"{field}: {seen} rows read …")
        if rotated:
            audit.record_many(field.model, f"{field.name}: {rotated} values encrypted again.")
        self.stdout.write(f"{field}: {seen} rows, {rotated} of them encrypted with the first key")
        return unreadable


def _rotate_row(field: secrets.TokenField, pk: Any, token: str) -> bool:
    """Rotate one token; return whether it changed. A concurrent change is read again, not overwritten."""
    while not secrets.is_current(token):
        row = secrets.rows_with_token(field).filter(pk=pk)
        unchanged = row.filter(**{field.name: token})
        if unchanged.update(**{field.name: secrets.rotated(token)}):
            return True
        current = row.values_list(field.name, flat=True).first()
        if current is None:
            return False
        token = current
    return False
