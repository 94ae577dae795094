"""CSV (RFC 4180) that spreadsheets do not evaluate."""

import csv
import io
from collections.abc import Iterable, Sequence

# A spreadsheet may evaluate a cell that begins with one of these, also in their full-width forms.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def csv_text(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return CSV with a header line. None is an empty cell.

    A text that begins like a formula gets an apostrophe in front, which spreadsheets do not show.
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return file.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA_STARTS):
        return f"'{value}"
    return value
