"""Number fields of the admin's forms.

Python, and with it Django, also reads digits of other scripts, underscores and exponents as numbers.
"""

import re
from typing import Any

from django import forms

_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)")


def _check(value: object) -> None:
    if isinstance(value, str) and value.strip() and not _NUMBER.fullmatch(value.strip()):
        raise forms.ValidationError("Enter a number in the digits 0 to 9, for example 2.50.")


class PlainDecimalField(forms.DecimalField):
    """A decimal number in ASCII digits."""

    def to_python(self, value: Any) -> Any:
        number = super().to_python(value)
        _check(value)
        return number


class PlainFloatField(forms.FloatField):
    """A float in ASCII digits."""

    def to_python(self, value: Any) -> Any:
        number = super().to_python(value)
        _check(value)
        return number


class PlainIntegerField(forms.IntegerField):
    """An integer in ASCII digits."""

    def to_python(self, value: Any) -> Any:
        number = super().to_python(value)
        _check(value)
        return number
