"""The work to evaluate a JSON Schema, bounded before it is evaluated.

jsonschema-rs cannot be interrupted, and a few hundred bytes of references can take exponential time. So the
references are followed here first: they must stay in the schema, and no value may be evaluated more often
than the schema's size allows.
"""

from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from typing import Any
from urllib.parse import unquote

# Subschemas that are evaluated, with all references followed.
MAX_EXPANDED_SIZE = 20_000
MAX_RECURSIVE = 20
MAX_REFERENCE_DEPTH = 100
MAX_PATTERNS = 100
MAX_PATTERN_CHARACTERS = 1_000
# A regular expression with backtracking costs more than other keywords.
_PATTERN_WEIGHT = 20
# Keywords with which a reference depends on more than the schema's text, or whose work is not counted.
_UNSUPPORTED = {
    *("$schema", "$anchor", "$dynamicRef", "$dynamicAnchor", "$recursiveRef"),
    *("$recursiveAnchor", "$vocabulary", "unevaluatedProperties", "unevaluatedItems"),
}
# The keywords with subschemas. All other keywords are data.
_DEFINITIONS = {"$defs", "definitions"}
_MAPS = {"properties", "patternProperties", "dependentSchemas", "dependencies", *_DEFINITIONS}
_ARRAY_KEYWORDS = {"items", "prefixItems", "additionalItems", "contains"}
_CHILDREN = {
    *_ARRAY_KEYWORDS,
    "properties",
    "patternProperties",
    "additionalProperties",
    "propertyNames",
}
_SUBSCHEMAS = {*_CHILDREN, *_MAPS, "not", "if", "then", "else", "allOf", "anyOf", "oneOf"}
_PATTERNS = {"pattern", "patternProperties"}


class SchemaRejected(Exception):
    """The schema is rejected. The message is a sentence."""


class Analysis:
    """The subschemas of a schema by their JSON pointers, and the work to evaluate them."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self._references: list[tuple[str, str]] = []
        self.patterns: set[str] = set()
        self._weights: dict[str, int] = {}
        # Subschemas that apply to the same value, and those that apply to children of it.
        self._in_place: dict[str, list[str]] = {}
        self._children: dict[str, list[str]] = {}
        self._add("", schema)
        for pointer, reference in self._references:
            self._in_place[pointer].append(self._target(reference))
        self._recursive: set[str] = set()
        self._steps = 0
        self._expanded: dict[str, int] = {}
        self._evaluations: dict[str, int] = {}

    def evaluations_per_value(self) -> int:
        """Return the most keywords that are evaluated for one value. Raises SchemaRejected."""
        if any(
            self._expanded_size(pointer) > MAX_EXPANDED_SIZE for pointer in ("", *self._targets())
        ):
            raise SchemaRejected("The schema is too complex: its references multiply.")
        if len(self._recursive) > MAX_RECURSIVE:
            raise SchemaRejected("The schema is too complex: it has too many recursive references.")
        for pointer in self._recursive:
            self._check_recursion(pointer)
        return max(map(self._work, self._weights))

    def _targets(self) -> Iterator[str]:
        return (self._target(reference) for _, reference in self._references)

    def _target(self, reference: str) -> str:
        # Decoded before it is split, as in RFC 6901, section 6.
        pointer = unquote(reference.removeprefix("#"))
        if not reference.startswith("#") or pointer not in self._weights:
            raise SchemaRejected(
                "$ref must be a JSON pointer to a subschema of the same schema, such as #/$defs/name: "
                f"{reference[:100]}"
            )
        return pointer

    def _add(self, pointer: str, node: Any) -> None:
        in_place: list[str] = []
        children: list[str] = []
        self._in_place[pointer], self._children[pointer] = in_place, children
        self._weights[pointer] = weight = 1
        if not isinstance(node, dict):
            return
        for keyword, value in node.items():
            if keyword == "$id":
                raise SchemaRejected("$id is supported only at the top level of the schema.")
            if keyword in _UNSUPPORTED:
                raise SchemaRejected(f"{keyword} is not supported.")
            if keyword == "$ref" and isinstance(value, str):
                self._references.append((pointer, value))
            elif keyword in _PATTERNS:
                weight += _PATTERN_WEIGHT * self._add_patterns(value)
            weight += len(value) if isinstance(value, dict | list) else 0
            if keyword in _SUBSCHEMAS:
                edges = children if keyword in _CHILDREN else in_place
                for path, child in _children(keyword, value):
                    self._add(f"{pointer}/{keyword}{path}", child)
                    if keyword not in _DEFINITIONS:
                        edges.append(f"{pointer}/{keyword}{path}")
        self._weights[pointer] = weight

    def _add_patterns(self, value: Any) -> int:
        """Return the number of regular expressions. Raises SchemaRejected for too many or a long one."""
        patterns = [value] if isinstance(value, str) else value if isinstance(value, dict) else ()
        if any(len(pattern) > MAX_PATTERN_CHARACTERS for pattern in patterns):
            raise SchemaRejected(f"A pattern can have at most {MAX_PATTERN_CHARACTERS} characters.")
        self.patterns.update(patterns)
        if len(self.patterns) > MAX_PATTERNS:
            raise SchemaRejected(f"A schema can have at most {MAX_PATTERNS} different patterns.")
        return len(patterns)

    def _work(self, pointer: str) -> int:
        """Return the work for one value, without its children."""
        if pointer not in self._evaluations:
            below = sum(map(self._work, self._in_place[pointer]))
            self._evaluations[pointer] = self._weights[pointer] + below
        return self._evaluations[pointer]

    def _expanded_size(self, pointer: str, path: frozenset[str] = frozenset()) -> int:
        """Return the number of subschemas with all references followed; a recursive one counts once."""
        if pointer in path:
            self._recursive.add(pointer)
            return 1
        if len(path) > MAX_REFERENCE_DEPTH:
            raise SchemaRejected("The schema is too complex: its references are nested too deeply.")
        if pointer not in self._expanded:
            path = path | {pointer}
            edges = (*self._in_place[pointer], *self._children[pointer])
            size = 1 + sum(self._expanded_size(edge, path) for edge in edges)
            self._expanded[pointer] = min(size, MAX_EXPANDED_SIZE + 1)
        return self._expanded[pointer]

    def _check_recursion(self, goal: str) -> None:
        """Reject recursion without end, and recursion that evaluates the same value more than once.

        The latter takes exponential time in the depth of the arguments.
        """
        leading = self._leading_to(goal)
        children = {child for pointer in leading for child in self._children[pointer]}
        for start in {goal, *(children & leading)}:
            self._check_value(start, leading)

    def _check_value(self, start: str, leading: set[str]) -> None:
        counts: Counter[str] = Counter()
        for pointer in self._same_value(start, ()):
            counts.update(
                _child_kind(pointer, child) for child in self._children[pointer] if child in leading
            )
        named = max((count for kind, count in counts.items() if kind.startswith("/")), default=0)
        if max(named + counts["object"], counts["array"]) > 1:
            raise SchemaRejected(
                "The schema is too complex: a recursive reference applies to the same value more than once."
            )

    def _same_value(self, pointer: str, path: tuple[str, ...]) -> Iterator[str]:
        """Yield the subschemas that apply to the same value, as often as they do."""
        if pointer in path:
            raise SchemaRejected("The schema is too complex: a reference is circular.")
        self._steps += 1
        if self._steps > MAX_EXPANDED_SIZE:
            raise SchemaRejected("The schema is too complex: its references multiply.")
        yield pointer
        for edge in self._in_place[pointer]:
            yield from self._same_value(edge, (*path, pointer))

    def _leading_to(self, goal: str) -> set[str]:
        """Return the subschemas from which another is reached."""
        seen, pending = {goal}, [goal]
        while pending:
            new = self._parents[pending.pop()] - seen
            seen |= new
            pending += new
        return seen

    @cached_property
    def _parents(self) -> dict[str, set[str]]:
        parents: dict[str, set[str]] = {pointer: set() for pointer in self._weights}
        for pointer in self._weights:
            for edge in (*self._in_place[pointer], *self._children[pointer]):
                parents[edge].add(pointer)
        return parents


def subschemas(schema: dict[str, Any]) -> Iterator[Any]:
    """Yield the subschemas that the keywords of a schema contain, without theirs."""
    for keyword, value in schema.items():
        if keyword in _SUBSCHEMAS:
            yield from (child for _, child in _children(keyword, value))


def _children(keyword: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the path from a keyword to each of its subschemas, and the subschema."""
    if isinstance(value, list):
        yield from ((f"/{index}", child) for index, child in enumerate(value))
    elif isinstance(value, dict) and keyword in _MAPS:
        for name, child in value.items():
            # `dependencies` also has lists of names.
            if isinstance(child, dict | bool):
                yield "/" + name.replace("~", "~0").replace("/", "~1"), child
    elif isinstance(value, dict | bool):
        yield "", value


def _child_kind(pointer: str, child: str) -> str:
    """Return the children that a subschema applies to: one property, all properties, or items."""
    keyword, slash, name = child[len(pointer) + 1 :].partition("/")
    if keyword == "properties":
        return slash + name
    return "array" if keyword in _ARRAY_KEYWORDS else "object"
