"""Scopes: what an API key allows. Each operation of the API requires exactly one."""

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from map_project.tenants.errors import InsufficientScope

if TYPE_CHECKING:
    from map_project.tenants.viewsets import CallerViewSet

READ, WRITE, RUN, APPROVE, KEYS = "read", "write", "run", "approve", "keys"
SCOPES = (READ, WRITE, RUN, APPROVE, KEYS)
# Of a key without a list.
DEFAULT_SCOPES = (READ, WRITE, RUN, APPROVE)
# Of the actions of DRF's mixins.
ACTION_SCOPES = {
    "list": READ,
    "retrieve": READ,
    "create": WRITE,
    "update": WRITE,
    "partial_update": WRITE,
    "destroy": WRITE,
}


def ordered(scopes: Collection[str]) -> list[str]:
    """Return the scopes without duplicates, in the order of `SCOPES`."""
    return [scope for scope in SCOPES if scope in scopes]


def check_scopes(granted: Collection[str], required: Collection[str]) -> None:
    """Raise InsufficientScope, for the first one that is missing, unless all are granted."""
    for scope in ordered(required):
        if scope not in granted:
            raise InsufficientScope.of(scope, ordered(granted))


def scope_of_call(view: Any, method: str) -> str:
    """Return the scope that a call of a `CallerViewSet` requires. `view` is the result of `as_view()`."""
    scope: str = view.cls.scopes[view.actions[method.lower()]]
    return scope


class HasScope(BasePermission):
    """Raises InsufficientScope if the caller lacks the scope of the action."""

    def has_permission(self, request: Request, view: "CallerViewSet[Any]") -> bool:  # type: ignore[override]
        if view.action in view.action_map.values():  # else the method is not allowed
            check_scopes(view.caller.scopes, [view.required_scope])
        return True
