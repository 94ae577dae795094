"""The models that tenants may use, as this process last read them: a run asks no database for them.

What was read is believed for `_BELIEVED_SECONDS`, so that an operator's edit holds everywhere
within two seconds. One thread reads anew; the others go on with what there was.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from threading import Lock

from django.conf import settings
from django.core.exceptions import ValidationError

from agents.errors import InvalidModel
from agents.models import LanguageModel
from map_project.tenants.models import list_of_names

_BELIEVED_SECONDS = 0.75


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A row of `LanguageModel`; prices are USD for a million tokens, None where they are unknown."""

    name: str
    provider: str
    upstream_name: str = ""
    base_url: str = ""
    # Encrypted: a token of `map_project.api.secrets`.
    credential_token: str = field(default="", repr=False)
    input_price_per_million: Decimal | None = None
    output_price_per_million: Decimal | None = None
    timeout_seconds: int = 60
    max_retries: int = 2
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class _Read:
    models: Mapping[str, KnownModel]
    believed_until: float


_nothing = _Read({}, -1.0)
_read = _nothing
_reading = Lock()


def offered(allowed: Collection[str] | None) -> dict[str, KnownModel]:
    """The active models by their names, in the order in which tenants see them; those that `allowed`
    names, unless it is None. Raises django.db.DatabaseError.
    """
    known = _known()
    return {name: known[name] for name in known if allowed is None or name in allowed}


def find(name: str, allowed: Collection[str] | None) -> KnownModel:
    """Return the active model with this name. Raises InvalidModel if there is none, or `allowed` (None:
    all models) does not contain it.
    """
    found = _known().get(name)
    if found is None or (allowed is not None and name not in allowed):
        raise InvalidModel(provided_model=name, allowed_models=[*offered(allowed)])
    return found


def check_allow_list(names: Sequence[str] | None, kept: Collection[str] | None) -> None:
    """Whether a tenant may be given this allow-list; `kept` is what it has. A name that means nothing
    (any more) may stay, and is not added. Raises ValidationError.
    """
    if names is None:
        return
    list_of_names(names)
    known = [*LanguageModel.objects.values_list("name", flat=True)]
    for name in names:
        if name not in known and name not in (kept or ()):
            told = f"There is no model with the name {name!r}; there are: {', '.join(known)}."
            raise ValidationError(told)


def forget(**_: object) -> None:
    """This process reads them anew the next time."""
    global _read  # noqa: PLW0603  what is read is one value, replaced as a whole
    _read = _nothing


def _known() -> Mapping[str, KnownModel]:
    global _read  # noqa: PLW0603
    read = _read
    if time.monotonic() < read.believed_until:
        return read.models
    # Only who has nothing waits for who reads.
    if _reading.acquire(blocking=read is _nothing):
        try:
            if _read is read:
                asked = time.monotonic()
                _read = _Read(_active(), asked + _BELIEVED_SECONDS)
        finally:
            _reading.release()
    return _read.models


def _active() -> Mapping[str, KnownModel]:
    """A row whose provider is none of this release's is left out, as an inactive one is."""
    rows = LanguageModel.objects.filter(is_active=True, provider__in=settings.MODEL_PROVIDERS)
    return {row["name"]: KnownModel(**row) for row in rows.values(*KnownModel.__slots__)}
