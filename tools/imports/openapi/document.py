"""An OpenAPI document: its operations, and its references."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit

METHODS = ("get", "post", "put", "patch", "delete", "head", "options", "trace")
MAX_REFERENCES = 20
# The schemas and properties that are read in one import. Large real documents have 11,000 in 100 operations.
MAX_SCHEMAS = 40_000
# The names that all model providers accept.
MAX_NAME_CHARACTERS = 64
# For `_2` and the like after the name of another operation.
_SUFFIX_CHARACTERS = 6
MAX_SHOWN_CHARACTERS = 200
YAML_HINT = "Convert YAML to JSON."

_UNNAMED = re.compile(r"[^A-Za-z0-9_-]+")
_VARIABLE = re.compile(r"\{([^{}]*)\}")


class DocumentError(Exception):
    """The document cannot be used. The message is a sentence."""


class UnsupportedOperation(Exception):
    """An operation cannot be imported. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An operation of the document.

    `source_name` is the operationId, or the method and the path; `name` is that of the tool.
    """

    source_name: str
    name: str
    method: str
    path: str
    path_item: Mapping[str, Any] = field(repr=False)
    node: Mapping[str, Any] = field(repr=False)


class Document:
    """An OpenAPI document, version 3.0 or 3.1, of which nothing but the version has been validated.

    `url` is where it comes from, or "". Raises DocumentError.
    """

    def __init__(self, content: Mapping[str, Any], url: str = "") -> None:
        version = str(content.get("openapi", content.get("swagger", "")))[:20]
        if not re.match(r"3\.[01](\.|$)", version):
            found = f"version {version}" if version else "no version"
            raise DocumentError(
                f"Expected an OpenAPI document of version 3.0 or 3.1, found {found}."
            )
        self.content = content
        self._url = url
        self._schemas_left = MAX_SCHEMAS

    def object(self, node: Any) -> Mapping[str, Any]:
        """Return an object, or the one that it refers to. Raises UnsupportedOperation."""
        for _ in range(MAX_REFERENCES):
            if not isinstance(node, dict):
                raise UnsupportedOperation("The document is not valid: an object is missing.")
            if not isinstance(reference := node.get("$ref"), str):
                return node
            node = self.target(reference)
        raise UnsupportedOperation("A reference of the document refers to itself.")

    def target(self, reference: str) -> Any:
        """Return what a `$ref` refers to. Raises UnsupportedOperation."""
        shown = reference[:MAX_SHOWN_CHARACTERS]
        if not reference.startswith("#"):
            raise UnsupportedOperation(f"It refers to another document: {shown}")
        node: Any = self.content
        for part in unquote(reference[1:]).split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, list) and key.isdecimal() and len(key) < 9:
                node = node[int(key)] if int(key) < len(node) else None
            else:
                node = node.get(key) if isinstance(node, dict) else None
            if node is None:
                raise UnsupportedOperation(f"The document does not contain {shown}")
        return node

    def count_schema(self) -> None:
        """Count a schema or property that is read. Raises UnsupportedOperation if they are too many."""
        self._schemas_left -= 1
        if self._schemas_left < 0:
            raise UnsupportedOperation(
                "The schemas of the operations are too large for one import. Import them one by one."
            )

    def operations(self, prefix: str = "") -> list[Operation]:
        """Return all operations. The name of each is unique, and begins with the prefix."""
        names = _Names(prefix)
        return [
            Operation(
                source_name=operation_id or route,
                name=names.unique(operation_id or f"{method}{path}"),
                method=method.upper(),
                path=path,
                path_item=path_item,
                node=node,
            )
            for path, path_item in self._path_items()
            for method in METHODS
            if isinstance(node := path_item.get(method), dict)
            for operation_id in [_operation_id(node)]
            for route in [f"{method.upper()} {path}"]
        ]

    def _path_items(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        paths = self.content.get("paths", {})
        for path, node in paths.items() if isinstance(paths, dict) else ():
            try:
                if path.startswith("/"):
                    yield path, self.object(node)
            except UnsupportedOperation:
                continue

    def server_url(self, operation: Operation) -> str:
        """Return the URL of the operation's first server, without a slash at its end.

        Raises UnsupportedOperation.
        """
        nodes = (operation.node, operation.path_item, self.content)
        servers: Any = next(
            (node["servers"] for node in nodes if node.get("servers")), [{"url": "/"}]
        )
        server = servers[0] if isinstance(servers, list) else None
        if not isinstance(server, dict) or not isinstance(server.get("url"), str):
            raise UnsupportedOperation("Its server is not valid.")
        url = _with_variables(server["url"], server.get("variables"))
        try:
            parts = urlsplit(urljoin(self._url, url))
        except ValueError:
            raise UnsupportedOperation("The URL of its server is not valid.") from None
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise UnsupportedOperation(
                f"The URL of its server is not absolute: {url[:MAX_SHOWN_CHARACTERS]}. Send the URL of the "
                "document as url."
            )
        return f"{parts.scheme}://{parts.netloc}{parts.path}".rstrip("/")


def _operation_id(node: Mapping[str, Any]) -> str:
    operation_id = node.get("operationId")
    return operation_id[:MAX_SHOWN_CHARACTERS] if isinstance(operation_id, str) else ""


def _with_variables(url: str, variables: Any) -> str:
    """Return the URL of a server with the defaults of its variables."""

    def default(match: re.Match[str]) -> str:
        variable = variables.get(match[1]) if isinstance(variables, dict) else None
        value = variable.get("default") if isinstance(variable, dict) else None
        # Some documents in YAML have numbers without quotes.
        if not isinstance(value, str | int):
            raise UnsupportedOperation(
                f"The URL of its server has a variable without a default: {match[0][:100]}"
            )
        return str(value)

    return _VARIABLE.sub(default, url[:2_000])


class _Names:
    """The names of tools, which differ."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._used: set[str] = set()
        self._counts: Counter[str] = Counter()

    def unique(self, text: str) -> str:
        base = self._prefix + (_UNNAMED.sub("_", text[:1_000]).strip("_") or "operation")
        if len(base) > MAX_NAME_CHARACTERS:
            base = base[: MAX_NAME_CHARACTERS - _SUFFIX_CHARACTERS].rstrip("_")
        name = base
        while name in self._used:
            self._counts[base] += 1
            name = f"{base}_{self._counts[base] + 1}"
        self._used.add(name)
        return name
