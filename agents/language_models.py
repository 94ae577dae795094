"""A cache of the language models in each process, so that a run needs no query for them.

Entries expire after `_CACHE_TTL_SECONDS`, so that all processes apply a change within two seconds. One
thread reloads the cache; the others use the expired one until it has finished, unless the process was idle
and the cache is older than that.
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

_CACHE_TTL_SECONDS = 0.75
# How long after that other threads use the cache during a reload.
_GRACE_SECONDS = 1.0
# How long they wait for a later one: longer than it takes with a new connection. Otherwise, a model that was
# just created would be unknown.
_MAX_WAIT_SECONDS = min(2 * settings.STATEMENT_TIMEOUT_MS / 1000 + 0.5, 5.0)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A row of `LanguageModel`. Prices are in USD per million tokens, or None if unknown."""

    name: str
    provider: str
    upstream_name: str = ""
    base_url: str = ""
    # Encrypted by `map_project.api.secrets`.
    credential_token: str = field(default="", repr=False)
    input_price_per_million: Decimal | None = None
    output_price_per_million: Decimal | None = None
    timeout_seconds: int = 60
    max_retries: int = 2
    max_output_tokens: int | None = None

    @classmethod
    def of(cls, model: LanguageModel) -> "KnownModel":
        """Return the values of a row."""
        return cls(**{name: getattr(model, name) for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class _Cache:
    models: Mapping[str, KnownModel]
    expires_at: float


_empty = _Cache({}, -1.0)
_cache = _empty
_reload_lock = Lock()


def offered(allowed: Collection[str] | None) -> dict[str, KnownModel]:
    """The active models in `allowed` (None: all) by name, in the order of the API. Raises DatabaseError."""
    known = _known()
    return {name: known[name] for name in known if allowed is None or name in allowed}


def find(name: str, allowed: Collection[str] | None) -> KnownModel:
    """Return the active model with this name in `allowed` (None: all models). Raises InvalidModel."""
    found = _known().get(name)
    if found is None or (allowed is not None and name not in allowed):
        raise InvalidModel(provided_model=name, allowed_models=[*offered(allowed)])
    return found


def check_allow_list(names: Sequence[str] | None, kept: Collection[str] | None) -> None:
    """Validate a new allow-list of a tenant; `kept` is its current one. Raises ValidationError.

    An unknown name is valid only if the current list contains it: its model was renamed or deleted.
    """
    if names is None:
        return
    list_of_names(names)
    known = [*LanguageModel.objects.values_list("name", flat=True)]
    for name in names:
        if name not in known and name not in (kept or ()):
            message = f"There is no model with the name {name!r}. Models: {', '.join(known)}."
            raise ValidationError(message)


def forget(**_: object) -> None:
    """Clear the cache of this process."""
    global _cache  # noqa: PLW0603  one value, replaced as a whole
    _cache = _empty


def _known() -> Mapping[str, KnownModel]:
    global _cache  # noqa: PLW0603
    cached = _cache
    if time.monotonic() < cached.expires_at:
        return cached.models
    is_usable = time.monotonic() < cached.expires_at + _GRACE_SECONDS
    # Without any cache, wait for the thread that reloads it as long as it takes.
    timeout = -1 if cached is _empty else _MAX_WAIT_SECONDS
    if _reload_lock.acquire(blocking=False) if is_usable else _reload_lock.acquire(timeout=timeout):
        try:
            if _cache is cached:
                expires_at = time.monotonic() + _CACHE_TTL_SECONDS
                _cache = _Cache(_active(), expires_at)
        finally:
            _reload_lock.release()
    return _cache.models


def _active() -> Mapping[str, KnownModel]:
    """The active models. Excludes those with a provider that this release does not have."""
    rows = LanguageModel.objects.filter(is_active=True, provider__in=settings.MODEL_PROVIDERS)
    return {row["name"]: KnownModel(**row) for row in rows.values(*KnownModel.__slots__)}
