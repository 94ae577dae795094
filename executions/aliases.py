"""Names of tools as every provider takes them: 1 to 64 of `[A-Za-z0-9_-]`.

A tenant's name may be anything of up to 100 characters. One that fits is kept; of another what fits is
kept, with a digest of the whole name behind it, so that it is the same at every run, in every process.
"""

import hashlib
import re
from collections.abc import Iterable

_FITS = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST_CHARACTERS = 8
_KEPT_CHARACTERS = 64 - 1 - _DIGEST_CHARACTERS


def aliases(names: Iterable[str]) -> dict[str, str]:
    """An alias for each name; no two names share one."""
    unique = sorted(set(names))
    found = {name: name for name in unique if _FITS.fullmatch(name)}
    taken = set(found)
    for name in unique:
        if name not in found:
            found[name] = _alias(name, taken)
            taken.add(found[name])
    return found


def _alias(name: str, taken: set[str]) -> str:
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:_KEPT_CHARACTERS] or "tool"
    attempt = 0
    while True:
        salted = f"{name}\n{attempt}" if attempt else name
        digest = hashlib.sha256(salted.encode()).hexdigest()[:_DIGEST_CHARACTERS]
        if (alias := f"{kept}_{digest}") not in taken:
            return alias
        # Somebody called another tool just that.
        attempt += 1
