"""Function names for tools, in the form that every provider accepts: 1 to 64 of `[A-Za-z0-9_-]`.

The name of a tool is any text of up to 100 characters. A name in the accepted form is its own alias. Another
name is reduced to the accepted characters, followed by a digest of the whole name, so that its alias is the
same at every run and in every process.
"""

import hashlib
import re
from collections.abc import Iterable

_FUNCTION_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_DIGEST_LENGTH = 8
_MAX_PREFIX_LENGTH = 64 - 1 - _DIGEST_LENGTH


def aliases(names: Iterable[str]) -> dict[str, str]:
    """Return a unique alias for each name."""
    unique = sorted(set(names))
    found = {name: name for name in unique if _FUNCTION_NAME.fullmatch(name)}
    taken = set(found)
    for name in unique:
        if name not in found:
            found[name] = _alias(name, taken)
            taken.add(found[name])
    return found


def _alias(name: str, taken: set[str]) -> str:
    prefix = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_")[:_MAX_PREFIX_LENGTH] or "tool"
    attempt = 0
    while True:
        salted = f"{name}\n{attempt}" if attempt else name
        digest = hashlib.sha256(salted.encode()).hexdigest()[:_DIGEST_LENGTH]
        if (alias := f"{prefix}_{digest}") not in taken:
            return alias
        # Another tool has this alias as its name.
        attempt += 1
