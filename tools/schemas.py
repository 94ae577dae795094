"""JSON Schemas of tools' arguments and of outputs: which ones are accepted, and which values they accept.

Tenants write the schemas and models write the values, so both are untrusted. jsonschema-rs validates them
and cannot be interrupted. So the work is bounded before it begins: a schema whose references multiply is
rejected when it is saved, and arguments are rejected if their size times the work per value is too large.
References are resolved within the schema only.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import jsonschema_rs
import orjson

from map_project.api.numbers import inexact_number
from tools.schema_analysis import Analysis, SchemaRejected, subschemas
from tools.schema_errors import sentence

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MAX_BYTES = 32 * 1024
MAX_DEPTH = 32
MAX_VALUE_DEPTH = 64
# Values of the arguments, times the keywords that are evaluated for one of them.
MAX_EVALUATIONS = 1_000_000
# Those of which all errors are built, and those evaluations, times the bytes of the arguments.
MAX_ERROR_VALUES = 1_000
MAX_ERROR_BYTES = 4_000_000
_MAX_ERRORS = 5
# The escape of NUL in JSON text, unless its backslash is escaped.
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_ALTERNATIVES = re.compile(rb'"(?:any|one)Of"')
_MAX_BACKTRACKS = 1_000
# Compiled size of all regular expressions of a schema, and of one of them.
_UNICODE = re.compile(r"\\[wWdDsSpPux]|[^\x00-\x7f]")
_IGNORE_CASE = re.compile(r"\(\?[a-z]*i")
_MAX_PATTERN_COST = 1_500
_PATTERNS_BYTES, _PATTERN_BYTES = 1024 * 1024, 200_000
_VALIDATORS: dict[str, Any] = {
    "json-schema.org/draft-06/schema": jsonschema_rs.Draft6Validator,
    "json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
    "json-schema.org/draft/2019-09/schema": jsonschema_rs.Draft201909Validator,
    "json-schema.org/draft/2020-12/schema": jsonschema_rs.Draft202012Validator,
    # The latest one.
    "json-schema.org/schema": jsonschema_rs.Draft202012Validator,
}


def schema_errors(schema: object) -> list[str]:
    """Return why a schema is rejected, in sentences. An accepted schema has no errors."""
    if not isinstance(schema, dict):
        return ["Expected a JSON Schema (a JSON object)."]
    try:
        _compiled(_text(schema))
    except SchemaRejected as error:
        return [str(error)]
    return []


def argument_errors(schema: Mapping[str, Any], arguments: Mapping[str, Any]) -> list[str]:
    """Return why a schema does not accept arguments, in at most five sentences."""
    return _value_errors(schema, arguments, "The arguments are", part="argument")


def output_errors(schema: Mapping[str, Any], output: Mapping[str, Any]) -> list[str]:
    """Return why a schema does not accept an output, in at most five sentences."""
    return _value_errors(schema, output, "The output is", part="property")


def _value_errors(
    schema: Mapping[str, Any], value: Mapping[str, Any], subject: str, *, part: str
) -> list[str]:
    try:
        compiled = _compiled(_text(schema))
    except SchemaRejected as error:
        return [f"The schema cannot be used: {error}"]
    count = value_count(value)
    if count is None or count * compiled.evaluations_per_value > MAX_EVALUATIONS:
        return [f"{subject} too large or too deeply nested for the schema."]
    if compiled.validator.is_valid(value):
        return []
    errors = _errors(compiled, _text(schema), value, count)
    sentences = [sentence(error, schema, part=part) for error in errors]
    return sentences or [f"{subject} not valid by the schema."]


def _errors(
    compiled: "_Compiled", schema_text: bytes, value: Mapping[str, Any], count: int
) -> list[Any]:
    """Return the first errors of an invalid value, or none if that takes too long. `count`: of its values."""
    # The library builds all errors at once, each with a copy of its value.
    error_bytes = compiled.evaluations_per_value * len(orjson.dumps(value))
    if count <= MAX_ERROR_VALUES and error_bytes <= MAX_ERROR_BYTES:
        return [*islice(compiled.validator.iter_errors(value), _MAX_ERRORS)]
    # The first error alone, unless it may be that of alternatives, which has all of theirs.
    if not _ALTERNATIVES.search(schema_text):
        try:
            compiled.validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return [error]
    return []


@dataclass(frozen=True, slots=True)
class _Compiled:
    validator: Any
    evaluations_per_value: int


def _text(schema: Mapping[str, Any]) -> bytes:
    """Return the schema as JSON text, the key of the cache. Raises SchemaRejected."""
    try:
        text = orjson.dumps(schema)
    except TypeError as error:
        number = inexact_number(schema)
        message = f"The schema is not JSON, or it is nested too deeply: {error}."
        raise SchemaRejected(str(number or message)) from None
    if _NUL.search(text):
        raise SchemaRejected("A string in the schema contains NUL (U+0000).")
    if len(text) > MAX_BYTES:
        raise SchemaRejected(
            f"The schema is too long: {len(text):,} bytes as JSON (maximum {MAX_BYTES:,})."
        )
    return text


@lru_cache(32)
def _compiled(text: bytes) -> _Compiled:
    """Compile a schema. Raises SchemaRejected."""
    schema: dict[str, Any] = orjson.loads(text)
    if value_count(schema, MAX_DEPTH) is None:
        raise SchemaRejected(f"The schema is nested deeper than {MAX_DEPTH} levels.")
    if schema.get("type") != "object":
        raise SchemaRejected('The schema must have "type": "object" at the top level.')
    validator_class = _validator_class(schema.pop("$schema", DIALECT))
    schema.pop("$id", None)
    _remove_nested_dialects(schema, validator_class)
    analysis = Analysis(schema)
    evaluations_per_value = analysis.evaluations_per_value()
    if sum(map(_pattern_cost, analysis.patterns)) > _MAX_PATTERN_COST:
        raise SchemaRejected("The patterns of the schema are too complex.")
    size = min(_PATTERN_BYTES, _PATTERNS_BYTES // max(len(analysis.patterns), 1))
    pattern_options = jsonschema_rs.FancyRegexOptions(_MAX_BACKTRACKS, size, size)
    try:
        # Errors of arguments do not repeat values: there may be thousands of errors for one large value.
        validator = _validator(validator_class, schema, pattern_options, mask="the value")
    except (ValueError, jsonschema_rs.ValidationError):
        try:
            validator = _validator(validator_class, schema, pattern_options)
        except (ValueError, jsonschema_rs.ValidationError) as error:
            raise SchemaRejected(sentence(error)) from None
    return _Compiled(validator, evaluations_per_value)


def _pattern_cost(pattern: str) -> int:
    """Estimate the time to compile a pattern: one unit is about 15 us.

    Classes of Unicode characters take most of it, and forty times as much if the case is ignored.
    """
    cost = pattern.count("[") + 2 * len(_UNICODE.findall(pattern))
    return cost * (20 if _IGNORE_CASE.search(pattern) else 1)


def _validator(
    validator_class: Any, schema: dict[str, Any], pattern_options: Any, **options: str
) -> Any:
    return validator_class(
        schema, pattern_options=pattern_options, validate_formats=False, offline=True, **options
    )


def _validator_class(dialect: object) -> Any:
    text = dialect.lower() if isinstance(dialect, str) else ""
    name = re.sub("^https?://", "", text).rstrip("#/")
    if name not in _VALIDATORS:
        raise SchemaRejected(
            f"$schema must be {DIALECT}, https://json-schema.org/draft/2019-09/schema, "
            "http://json-schema.org/draft-07/schema# or http://json-schema.org/draft-06/schema#, "
            "or omitted."
        )
    return _VALIDATORS[name]


def _remove_nested_dialects(schema: dict[str, Any], validator_class: Any) -> None:
    """Remove `$schema` from subschemas: it must not change their dialect. Raises SchemaRejected."""
    for child in subschemas(schema):
        if not isinstance(child, dict):
            continue
        if "$schema" in child and _validator_class(child.pop("$schema")) is not validator_class:
            raise SchemaRejected("$schema of a subschema must name the same dialect as the schema.")
        _remove_nested_dialects(child, validator_class)


def value_count(value: object, max_depth: int = MAX_VALUE_DEPTH) -> int | None:
    """Return the number of values in a JSON value, or None if it is nested too deeply."""
    count, level = 0, [value]
    for _ in range(max_depth):
        count += len(level)
        level = [child for parent in level for child in _json_children(parent)]
        if not level:
            return count
    return None


def _json_children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value
