"""Operations of OpenAPI documents as `http` tools."""

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from tools.imports.openapi.document import Document, Operation, UnsupportedOperation
from tools.imports.openapi.schemas import Argument, parameters_schema, shortened
from tools.imports.openapi.security import Security, security_of
from tools.invokers.http_config import METHODS, is_reserved_header
from tools.schemas import schema_errors

MAX_PARAMETERS = 100
MAX_PATH_CHARACTERS = 1_000
MAX_DESCRIPTION_CHARACTERS = 1_000
_MAX_MEDIA_TYPES = 20

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_UNNAMED = re.compile(r"[^A-Za-z0-9_.-]+")
_PATH_PARAMETER = re.compile(r"\{([^{}]*)\}")
_JSON = re.compile(r"application/([^;]*\+)?json *(;.*)?|\*/\*", re.IGNORECASE)
_FORM = "application/x-www-form-urlencoded"
_SCALARS = {"string", "number", "integer", "boolean"}
# Parameters with these names are ignored, according to the specification.
_IGNORED_HEADERS = {"accept", "content-type", "authorization"}


@dataclass(slots=True)
class _Request:
    """What is known of the request of a tool while the parameters are read."""

    headers: dict[str, str]
    path: str
    query: dict[str, str]
    arguments: list[Argument] = field(default_factory=list)
    locations: dict[str, dict[str, str]] = field(default_factory=dict)
    path_names: dict[str, str] = field(default_factory=dict)

    def argument_name(self, name: str, place: str) -> str:
        """Return a name that providers accept, and that no other argument has."""
        base = name if _NAME.fullmatch(name) else _UNNAMED.sub("_", name)[:54].strip("_.-") or place
        used = {argument.name for argument in self.arguments}
        candidates = (base, f"{base[:54]}_{place}", *(f"{base[:54]}_{n}" for n in range(2, 200)))
        return next(each for each in candidates if each not in used)


def tool_fields(
    document: Document,
    operation: Operation,
    *,
    headers: Mapping[str, str],
    secret_names: Collection[str],
) -> dict[str, Any]:
    """Return the fields of the tool for an operation: those of the API. Raises UnsupportedOperation.

    `headers` are those that every tool sends; `secret_names` are the secrets that are given.
    """
    if len(operation.path) > MAX_PATH_CHARACTERS:
        raise UnsupportedOperation(f"Its path has more than {MAX_PATH_CHARACTERS} characters.")
    if operation.method not in METHODS:
        raise UnsupportedOperation(f"Tools cannot send {operation.method} requests.")
    security = security_of(document, operation, secret_names)
    request = _Request(
        {**_missing(security.headers, headers), **headers}, operation.path, security.query
    )
    _add_parameters(document, operation, request, security)
    _add_body(document, operation, request)
    url = document.server_url(operation) + _path(request)
    if request.query:
        pairs = (f"{quote(name, safe='')}={value}" for name, value in request.query.items())
        url += ("&" if "?" in url else "?") + "&".join(pairs)
    http: dict[str, Any] = {"method": operation.method, "url": url, "arguments_in": "query"}
    if request.locations:
        http["locations"] = request.locations
    return {
        "name": operation.name,
        "description": _description(operation),
        "kind": "http",
        "parameters": _schema(document, request.arguments),
        "http": {**http, "headers": request.headers},
    }


def _missing(headers: Mapping[str, str], others: Mapping[str, str]) -> dict[str, str]:
    """Return the headers whose names are not in `others`."""
    names = {name.lower() for name in others}
    return {name: value for name, value in headers.items() if name.lower() not in names}


def _schema(document: Document, arguments: list[Argument]) -> dict[str, Any]:
    """Return the schema of the arguments, without patterns if they are not accepted."""
    schema = parameters_schema(document, arguments)
    if schema_errors(schema):
        return parameters_schema(document, arguments, keeps_patterns=False)
    return schema


def _description(operation: Operation) -> str:
    """Return the summary and the description, without repetition."""
    summary, details = (
        shortened(text, MAX_DESCRIPTION_CHARACTERS) if isinstance(text, str) else ""
        for text in (operation.node.get("summary"), operation.node.get("description"))
    )
    if details.startswith(summary.rstrip(".")):
        summary = ""
    text = "\n\n".join(filter(None, (summary, details)))
    text = text or f"{operation.method} {operation.path}"
    return shortened(text, MAX_DESCRIPTION_CHARACTERS)


def _add_parameters(
    document: Document, operation: Operation, request: _Request, security: Security
) -> None:
    parameters = _parameters(document, operation)
    # In the order of the path. Some documents leave out their declaration.
    for name in dict.fromkeys(_PATH_PARAMETER.findall(operation.path)):
        _add_path_parameter(document, name, parameters.pop(("path", name), {}), request)
    set_headers = {name.lower() for name in request.headers}
    for (place, name), parameter in parameters.items():
        is_required = parameter.get("required") is True
        is_set = _is_set(name, set_headers) if place == "header" else name in security.query
        if place == "path" or is_set or (parameter.get("deprecated") is True and not is_required):
            continue
        if place == "cookie":
            if is_required:
                raise UnsupportedOperation(f"It requires the cookie {name[:100]}.")
            continue
        _add_parameter(document, place, name, parameter, request)


def _is_set(name: str, set_headers: Collection[str]) -> bool:
    """Return whether a header is set by the tool or the HTTP client, so that it is not an argument."""
    return name.lower() in {*set_headers, *_IGNORED_HEADERS} or is_reserved_header(name)


def _parameters(
    document: Document, operation: Operation
) -> dict[tuple[str, str], Mapping[str, Any]]:
    """Return the parameters by place and name. Those of the operation replace those of the path."""
    found: dict[tuple[str, str], Mapping[str, Any]] = {}
    for owner in (operation.path_item, operation.node):
        parameters = owner.get("parameters", [])
        if not isinstance(parameters, list) or len(parameters) > MAX_PARAMETERS:
            raise UnsupportedOperation(f"It has more than {MAX_PARAMETERS} parameters.")
        for each in parameters:
            parameter = document.object(each)
            place, name = parameter.get("in"), parameter.get("name")
            if place not in ("path", "query", "header", "cookie") or not isinstance(name, str):
                raise UnsupportedOperation("One of its parameters is not valid.")
            if not 1 <= len(name) <= 200:
                raise UnsupportedOperation("The name of a parameter has more than 200 characters.")
            found[place, name] = parameter
    return found


def _add_path_parameter(
    document: Document, name: str, parameter: Mapping[str, Any], request: _Request
) -> None:
    _, schema = _parameter_schema(document, parameter)
    kind = _type(document, schema)
    if parameter.get("style", "simple") != "simple" or kind in ("array", "object"):
        raise UnsupportedOperation(f"Its path has a list or an object: {name[:100]}")
    argument = request.argument_name(name, "path")
    request.path_names[name] = argument
    request.arguments.append(
        Argument(argument, schema or {"type": "string"}, _text(parameter), is_required=True)
    )


def _path(request: _Request) -> str:
    return _PATH_PARAMETER.sub(lambda match: f"{{{request.path_names[match[1]]}}}", request.path)


def _add_parameter(
    document: Document, place: str, name: str, parameter: Mapping[str, Any], request: _Request
) -> None:
    media_type, schema = _parameter_schema(document, parameter)
    argument = request.argument_name(name, place)
    location = {"in": place}
    if argument != name:
        location["name"] = name
    if place == "query":
        style = "json" if media_type else _style(parameter, _type(document, schema))
        location |= {"style": style} if style != "repeat" else {}
    if location != {"in": "query"}:
        request.locations[argument] = location
    is_required = parameter.get("required") is True
    request.arguments.append(Argument(argument, schema, _text(parameter), is_required=is_required))


def _parameter_schema(document: Document, parameter: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the media type of a parameter, or "", and its schema with its examples."""
    content = parameter.get("content")
    if isinstance(content, dict) and content:
        media_type, value = next(iter(content.items()))
        return media_type, document.object(value).get("schema", {})
    schema = parameter.get("schema", {})
    if "example" in parameter and isinstance(schema, dict) and "example" not in schema:
        schema = {**schema, "example": parameter["example"]}
    return "", schema


def _type(document: Document, schema: Any) -> str | None:
    """Return the type of a schema if there is one, without null."""
    node = document.object(schema) if isinstance(schema, dict) else {}
    kinds = node.get("type")
    kinds = [kind for kind in kinds if kind != "null"] if isinstance(kinds, list) else [kinds]
    return kinds[0] if len(kinds) == 1 and isinstance(kinds[0], str) else None


_Style = Literal["repeat", "comma", "space", "pipe", "deep", "properties"]


def _style(parameter: Mapping[str, Any], kind: str | None) -> _Style:
    """Return the style of a query parameter, as `http` tools name it."""
    style = parameter.get("style", "form")
    is_exploded = parameter.get("explode", style == "form") is True
    if kind in _SCALARS:
        return "repeat"
    if style == "deepObject":
        return "deep"
    if is_exploded:
        return "properties" if kind == "object" else "repeat"
    names: dict[str, _Style] = {"spaceDelimited": "space", "pipeDelimited": "pipe"}
    return names.get(style, "comma") if isinstance(style, str) else "comma"


def _text(node: Mapping[str, Any]) -> str:
    text = node.get("description")
    return (
        text[:MAX_DESCRIPTION_CHARACTERS].replace("\0", "").strip() if isinstance(text, str) else ""
    )


def _add_body(document: Document, operation: Operation, request: _Request) -> None:
    if "requestBody" not in operation.node:
        return
    body = document.object(operation.node["requestBody"])
    is_required = body.get("required") is True
    if operation.method == "GET":
        if is_required:
            raise UnsupportedOperation("Its GET request has a body.")
        return
    media_type, node = _media_type(document, body)
    schema = node.get("schema", {})
    if not is_required and _is_empty(schema):
        return
    argument = request.argument_name("body", "body")
    request.locations[argument] = {"in": "form" if media_type == _FORM else "body"}
    if media_type == _FORM and _is_deep(node.get("encoding")):
        request.locations[argument]["style"] = "deep"
    if media_type not in (_FORM, "application/json", "*/*"):
        request.headers.update(_missing({"Content-Type": media_type}, request.headers))
    request.arguments.append(Argument(argument, schema, _text(body), is_required=is_required))


def _is_empty(schema: Any) -> bool:
    """Return whether a schema allows no property: Stripe's requests without a body have such schemas."""
    return isinstance(schema, dict) and (
        schema.get("properties") == {} and schema.get("additionalProperties") is False
    )


def _media_type(document: Document, body: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """Return the media type in which the body is sent, and its object. Raises UnsupportedOperation."""
    content = document.object(body.get("content"))
    types = [*content][:_MAX_MEDIA_TYPES]
    for matches in (_is_plain_json, _JSON.fullmatch, _is_form):
        for media_type in types:
            if matches(media_type):
                name = _FORM if _is_form(media_type) else media_type.lower()
                return name, document.object(content[media_type])
    raise UnsupportedOperation(
        f"Its body is neither JSON nor a form: {', '.join(types)[:200] or 'no media type'}."
    )


def _is_plain_json(media_type: str) -> bool:
    return media_type.lower() == "application/json"


def _is_form(media_type: str) -> bool:
    return media_type.partition(";")[0].strip().lower() == _FORM


def _is_deep(encoding: Any) -> bool:
    """Return whether nested values of a form are written as `name[key]`."""
    return any(each.get("style") == "deepObject" for each in _objects(encoding))


def _objects(nodes: Any) -> Iterator[Mapping[str, Any]]:
    values = nodes.values() if isinstance(nodes, dict) else ()
    return (value for value in values if isinstance(value, dict))
