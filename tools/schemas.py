"""The JSON Schema of a tool's arguments, draft 2020-12: what is taken for one, and what it says of
arguments.

Tenants write the schemas and models the arguments, so both are hostile: whatever they are, a check
ends within `MAX_SECONDS` of CPU, asks nobody, and raises nothing.
"""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any
from urllib.parse import unquote

import orjson

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_BYTES = 32 * 1024
MAX_DEPTH = 32
MAX_PATTERN_CHARACTERS = 500
MAX_SECONDS = 1.0
# A match of one pattern; the whole process may wait for it.
_MATCH_SECONDS = 0.1
_MAX_KEYWORDS_DEEP = 64
# As it is escaped; a backslash before it would be escaped itself.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_MAX_TYPES = 100
_MAX_PROBLEMS = 5
_MESSAGE_CHARACTERS = 200

# They would make the meaning of a reference depend on more than the schema's own text, or evaluate
# subschemas that no count of ours would see.
_REFUSED = (
    "$schema",  # but at the top
    "$id",
    "$anchor",
    "$dynamicRef",
    "$dynamicAnchor",
    "$vocabulary",
    "unevaluatedProperties",
    "unevaluatedItems",
)


class _TooMuch(Exception):
    """The check takes too long, or leads too deep."""


@dataclass(slots=True)
class _Bounds:
    """Of one check: the thread's CPU time at which it ends, and how deep it is."""

    until: float
    depth: int = 0


_bounds: ContextVar[_Bounds] = ContextVar("bounds")


def problems(schema: object) -> list[str]:
    """Why this is no schema of a tool's arguments; empty when it is one."""
    if not isinstance(schema, dict):
        return ["Expected a JSON Schema, which is an object."]
    try:
        found = _size_problems(schema) or _shape_problems(schema) or _metaschema_problems(schema)
    except (RecursionError, _TooMuch):
        return ["This schema is too complicated."]
    return found[:_MAX_PROBLEMS]


def mismatches(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    """Why the arguments are none that the schema takes; empty when they are."""
    # By the dialect jsonschema would find its own class again.
    own = {name: value for name, value in schema.items() if name != "$schema"}
    validator = _validator_class()(own)
    token = _bounds.set(_Bounds(time.thread_time() + MAX_SECONDS))
    found: list[str] = []
    try:
        for error in validator.iter_errors(arguments):
            found.append(_sentence(error))
            if len(found) == _MAX_PROBLEMS:
                break
    except (_TooMuch, RecursionError):
        return ["Checking them against the tool's schema takes too long, or leads too deep."]
    except Exception as error:
        # A number that overflows, a reference to nowhere in a row that was not saved by us…
        return [f"The tool's schema could not be applied to them ({type(error).__name__})."]
    finally:
        _bounds.reset(token)
    return found


def _size_problems(schema: dict[str, Any]) -> list[str]:
    try:
        text = orjson.dumps(schema)
    except TypeError:
        return ["This is not JSON, or it is nested too deeply."]
    size = len(text)
    if _NUL.search(text):
        return ["A text in it has a NUL (U+0000)."]
    if size > MAX_BYTES:
        return [f"The schema has {size} bytes as JSON; {MAX_BYTES} are allowed."]
    if _depth(schema) > MAX_DEPTH:
        return [f"The schema is nested deeper than {MAX_DEPTH} levels."]
    return []


def _depth(value: object) -> int:
    children: list[object] = []
    if isinstance(value, dict):
        children = list(value.values())
    elif isinstance(value, list):
        children = value
    return 1 + max(map(_depth, children), default=0)


def _shape_problems(schema: dict[str, Any]) -> list[str]:
    found: list[str] = []
    if schema.get("type") != "object":
        found.append('The schema must have "type": "object": arguments have names.')
    if schema.get("$schema", DIALECT) not in (DIALECT, f"{DIALECT}#"):
        found.append(f"$schema must be {DIALECT}, or left out.")
    for name, value in schema.items():
        if name != "$schema":
            found += _keyword_problems(schema, name, value)
        for inner, inner_value in _keywords(value):
            found += _keyword_problems(schema, inner, inner_value)
    return found


def _keywords(value: object) -> Iterator[tuple[str, Any]]:
    """Every name and value of every object in it: more than the keywords, never less."""
    if isinstance(value, dict):
        yield from value.items()
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _keywords(item)


def _keyword_problems(schema: dict[str, Any], name: str, value: object) -> list[str]:
    # A property may have any name; its schema is no string.
    if name in _REFUSED and (isinstance(value, str) or name.startswith("unevaluated")):
        return [f"{name} is not supported."]
    if name == "$ref" and isinstance(value, str):
        return _reference_problems(schema, value)
    if name == "type" and isinstance(value, list) and len(value) > _MAX_TYPES:
        # jsonschema would compare each with each.
        return [f"type names {len(value)} types."]
    if name == "pattern" and isinstance(value, str):
        return _pattern_problems(value)
    if name == "patternProperties" and isinstance(value, dict):
        return [problem for pattern in value for problem in _pattern_problems(pattern)]
    return []


def _reference_problems(schema: dict[str, Any], reference: str) -> list[str]:
    if reference != "#" and not reference.startswith("#/"):
        return ["$ref may only lead to a place in the same schema, such as #/$defs/city."]
    at: Any = schema
    # Decoded before it is split, as the library does.
    for part in unquote(reference[1:]).split("/")[1:]:
        at = _within(at, part.replace("~1", "/").replace("~0", "~"))
    return [] if isinstance(at, dict | bool) else [f"$ref leads nowhere: {reference[:100]}"]


def _within(value: object, part: str) -> object:
    if isinstance(value, dict):
        return value.get(part)
    if isinstance(value, list) and re.fullmatch("[0-9]{1,5}", part) and int(part) < len(value):
        return value[int(part)]
    return None


def _pattern_problems(pattern: str) -> list[str]:
    import regex

    if len(pattern) > MAX_PATTERN_CHARACTERS:
        return [f"A pattern may have {MAX_PATTERN_CHARACTERS} characters."]
    try:
        regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, ValueError) as error:
        return [f"A pattern is no regular expression: {str(error)[:_MESSAGE_CHARACTERS]}."]
    return []


def _metaschema_problems(schema: dict[str, Any]) -> list[str]:
    from jsonschema import Draft202012Validator

    validator = Draft202012Validator(Draft202012Validator.META_SCHEMA)
    return [_sentence(error) for error in islice(validator.iter_errors(schema), _MAX_PROBLEMS)]


def _sentence(error: Any) -> str:
    place = error.json_path.removeprefix("$").removeprefix(".")[:100]
    message = _cut(error.message)
    return f"{place}: {message}." if place else f"{message}."


def _cut(message: str) -> str:
    cut = len(message) > _MESSAGE_CHARACTERS + 1
    return f"{message[:_MESSAGE_CHARACTERS]}…" if cut else message


@cache
def _validator_class() -> Any:
    """jsonschema's, with a look at the bounds before each keyword, and with patterns and `uniqueItems`
    whose time is bounded.
    """
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    own = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
        "uniqueItems": _unique_items,
    }
    keywords = {**Draft202012Validator.VALIDATORS, **own}
    return extend(
        Draft202012Validator, {name: _timed(keyword) for name, keyword in keywords.items()}
    )


def _timed(keyword: Callable[..., Any]) -> Callable[..., Any]:
    def timed(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
        bounds = _bounds.get()
        # Not left to Python: a RecursionError inside jsonschema's Rust is a panic, which nobody catches.
        if bounds.depth >= _MAX_KEYWORDS_DEEP:
            raise _TooMuch
        _look_at_the_time(bounds)
        bounds.depth += 1
        try:
            for error in keyword(validator, value, instance, schema) or ():
                # It repeats the value, and there may be thousands of one value.
                error.message, error.args = _cut(error.message), ()
                yield error
        finally:
            bounds.depth -= 1

    return timed


def _look_at_the_time(bounds: _Bounds) -> None:
    if time.thread_time() > bounds.until:
        raise _TooMuch


def _matches(pattern: str, text: str) -> bool:
    import regex

    # One keyword may ask for thousands.
    _look_at_the_time(_bounds.get())
    try:
        return regex.search(pattern, text, timeout=_MATCH_SECONDS) is not None
    except TimeoutError:
        raise _TooMuch from None


def _pattern(validator: Any, value: str, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not _matches(value, instance):
        yield ValidationError(f"{instance!r} does not match {value!r}")


def _pattern_properties(validator: Any, value: Any, instance: Any, _: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, subschema in value.items():
        for name, item in instance.items():
            if _matches(pattern, name):
                yield from validator.descend(item, subschema, path=name, schema_path=pattern)


def _additional_properties(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if not validator.is_type(instance, "object"):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    others = [
        name
        for name in instance
        if name not in known and not any(_matches(pattern, name) for pattern in patterns)
    ]
    if value is False and others:
        yield ValidationError(f"{', '.join(map(repr, others[:5]))} may not be given")
    elif value is not True:
        for name in others:
            yield from validator.descend(instance[name], value, path=name)


def _unique_items(validator: Any, value: Any, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if value and validator.is_type(instance, "array"):
        texts = {orjson.dumps(_canonical(item), option=orjson.OPT_SORT_KEYS) for item in instance}
        if len(texts) != len(instance):
            yield ValidationError("the items are not unique")


def _canonical(value: Any) -> Any:
    """With one spelling for each number: to JSON Schema, 1.0 is 1."""
    match value:
        case float() if value.is_integer():
            return int(value) if abs(value) < 2**63 else value
        case dict():
            return {name: _canonical(item) for name, item in value.items()}
        case list():
            return [_canonical(item) for item in value]
    return value
