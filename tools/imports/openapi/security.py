"""Security schemes of OpenAPI documents as headers and query parameters with secrets."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tools.imports.openapi.document import Document, Operation, UnsupportedOperation

MAX_REQUIREMENTS = 20
MAX_SCHEMES = 1_000
_UNNAMED = re.compile(r"[^A-Za-z0-9_-]+")


@dataclass(slots=True)
class Security:
    """What a request needs, with placeholders of secrets. `secrets` are their names."""

    headers: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    secrets: set[str] = field(default_factory=set)


def security_of(
    document: Document, operation: Operation, secret_names: Collection[str]
) -> Security:
    """Return the security of an operation: its first requirement for which all secrets are given.

    If there is none, it is an empty requirement, or the first one that tools can have. Raises
    UnsupportedOperation if there is no such requirement.
    """
    required = operation.node.get("security", document.content.get("security"))
    if not isinstance(required, list) or not required:
        return Security()
    possible: list[Security] = []
    reason = "Its security is not valid."
    for requirement in required[:MAX_REQUIREMENTS]:
        try:
            possible.append(_security(document, requirement))
        except UnsupportedOperation as error:
            reason = str(error)
    if not possible:
        raise UnsupportedOperation(reason)
    given = (each for each in possible if each.secrets and each.secrets <= set(secret_names))
    anonymous = (each for each in possible if not each.secrets)
    return next(given, None) or next(anonymous, None) or possible[0]


def secret_name(scheme_name: str) -> str:
    """Return the name of the secret for a security scheme."""
    return _UNNAMED.sub("_", scheme_name[:1_000])[:64]


def document_secrets(document: Document) -> dict[str, bool]:
    """Return the names of the secrets that the document's schemes use, and which are for Basic."""
    components = document.content.get("components")
    schemes = components.get("securitySchemes") if isinstance(components, dict) else None
    names = [*schemes][:MAX_SCHEMES] if isinstance(schemes, dict) else []
    found = {}
    for name in names:
        try:
            values = _scheme(document, name).headers.values()
        except UnsupportedOperation:
            continue
        found[secret_name(name)] = any(value.startswith("Basic ") for value in values)
    return found


def _security(document: Document, requirement: Any) -> Security:
    """Return the security of a requirement: all of its schemes. Raises UnsupportedOperation."""
    if not isinstance(requirement, dict) or len(requirement) > MAX_REQUIREMENTS:
        raise UnsupportedOperation("Its security is not valid.")
    security = Security()
    for name in requirement:
        scheme = _scheme(document, name)
        security.headers |= scheme.headers
        security.query |= scheme.query
        security.secrets |= scheme.secrets
    return security


def _scheme(document: Document, name: str) -> Security:
    components = document.object(document.content.get("components", {}))
    schemes = document.object(components.get("securitySchemes", {}))
    if name not in schemes:
        raise UnsupportedOperation(f"The document has no security scheme {name[:100]}.")
    scheme = document.object(schemes[name])
    secret = secret_name(name)
    placeholder = f"{{{{secret.{secret}}}}}"
    place = _place(scheme, placeholder)
    if place is None:
        raise UnsupportedOperation(f"Its security scheme {name[:100]} is not supported.")
    return Security(**place, secrets={secret})


def _place(scheme: Mapping[str, Any], placeholder: str) -> dict[str, dict[str, str]] | None:
    """Return the header or the query parameter of a scheme, or None if it is not supported."""
    kind, key = scheme.get("type"), scheme.get("name")
    http_scheme = str(scheme.get("scheme")).lower()
    if kind == "apiKey" and isinstance(key, str) and 1 <= len(key) <= 100:
        if scheme.get("in") == "header":
            return {"headers": {key: placeholder}}
        if scheme.get("in") == "query":
            return {"query": {key: placeholder}}
    if kind in ("oauth2", "openIdConnect") or (kind == "http" and http_scheme == "bearer"):
        return {"headers": {"Authorization": f"Bearer {placeholder}"}}
    if kind == "http" and http_scheme == "basic":
        return {"headers": {"Authorization": f"Basic {placeholder}"}}
    return None
