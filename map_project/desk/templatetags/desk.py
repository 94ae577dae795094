"""Names in the admin's pages: one for each list, and headings of filters that say what they select."""

from django import template

from executions import display
from map_project.desk.navigation import list_names
from map_project.tenants.keys import creator_of, scopes_of
from map_project.tenants.models import ApiKey

register = template.Library()

# The theme writes "By" before the name of the field.
_HEADINGS = {
    "action flag": "Action",
    "attempt time": "Time range",
    "content type": "Type",
    "created at": "Dates (UTC)",
    "is active": "Status",
}


@register.filter
def list_name(url: object) -> str:
    """The name that the sidebar has for the list at this URL; empty for other URLs."""
    return list_names().get(str(url), "")


@register.filter
def filter_heading(title: object) -> str:
    """The heading of a filter of the field with this name."""
    text = str(title)
    return _HEADINGS.get(text, text[:1].upper() + text[1:])


@register.filter
def scopes(key: ApiKey) -> str:
    """What the key allows: "read, run"."""
    return ", ".join(scopes_of(key))


@register.filter
def creator(key: ApiKey) -> str:
    """Who created the key."""
    return creator_of(key)


@register.filter
def period(seconds: int) -> str:
    """A time of whole seconds: 60 s, 1 h 10 min."""
    return display.period(seconds)
