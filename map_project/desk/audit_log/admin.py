"""The list of the audit log. It is read-only."""

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.urls import NoReverseMatch
from django.utils.html import format_html, format_html_join
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RelatedDropdownFilter
from unfold.paginator import InfinitePaginator

from executions.admin.filters import DatesFilter
from map_project.desk.audit_log import messages
from map_project.desk.audit_log.filters import PeriodFilter, TenantFilter
from map_project.tenants.admin import ReadOnlyAdmin

_TONES = {ADDITION: "good", CHANGE: "busy", DELETION: "bad"}
# Longer values, and more fields, are folded.
_LONG = 200
_MANY = 5


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """Who changed what: staff users, API keys, and commands."""

    list_display = ("action_time", "who", "action", "kind", "row", "change")
    list_display_links = None
    list_filter = (
        PeriodFilter,
        TenantFilter,
        ("user", RelatedDropdownFilter),
        ("action_flag", ChoicesDropdownFilter),
        ("content_type", RelatedDropdownFilter),
        ("action_time", DatesFilter),
    )
    list_filter_submit = True
    list_select_related = ("user", "content_type")
    list_per_page = 50
    paginator = InfinitePaginator
    search_fields = ("object_repr", "user__username", "object_id", "change_message")
    search_help_text = "Search names, IDs and changes in the selected time range"
    show_full_result_count = False
    sortable_by = ()
    ordering = ("-action_time", "-id")

    @admin.display(description="who")
    def who(self, entry: LogEntry) -> str:
        return _read(entry).who

    @admin.display(description="action")
    def action(self, entry: LogEntry) -> str:
        return format_html(
            '<span class="desk-badge desk-{}">{}</span>',
            _TONES.get(entry.action_flag, "plain"),
            entry.get_action_flag_display(),
        )

    @admin.display(description="object")
    def row(self, entry: LogEntry) -> str:
        """The row's name, with a link to its page unless the entry is about its deletion."""
        url = None if entry.action_flag == DELETION else _url(entry)
        if url is None:
            return entry.object_repr
        return format_html('<a class="desk-object" href="{}">{}</a>', url, entry.object_repr)

    @admin.display(description="type")
    def kind(self, entry: LogEntry) -> str:
        model = entry.content_type and entry.content_type.model_class()
        return str(model._meta.verbose_name) if model else ""

    @admin.display(description="change")
    def change(self, entry: LogEntry) -> str:
        """A sentence, if there is one, and a line for each field."""
        read = _read(entry)
        fields = format_html_join("", "<li><b>{}</b> {}</li>", _fields(read))
        shown = format_html('<ul class="desk-changes">{}</ul>', fields) if fields else ""
        if len(read.changes) > _MANY:
            names = ", ".join(change.name for change in read.changes)
            shown = format_html("<details><summary>{}</summary>{}</details>", names, shown)
        return format_html('<div class="desk-change">{}{}</div>', read.text, shown)


def _fields(entry: messages.Entry) -> Iterator[tuple[str, str]]:
    for change in entry.changes:
        after = format_html("<ins>{}</ins>", _value(change.after))
        if not change.before:
            yield change.name, after
        else:
            before = format_html("<del>{}</del>", _value(change.before))
            yield change.name, format_html("{} → {}", before, after)


def _value(text: str) -> str:
    if len(text) <= _LONG:
        return text
    return format_html("<details><summary>{}…</summary>{}</details>", text[: _LONG // 4], text)


def _read(entry: LogEntry) -> messages.Entry:
    return messages.read(entry.get_change_message(), entry.user.get_username())


def _url(entry: LogEntry) -> Any:
    try:
        return entry.get_admin_url()
    except NoReverseMatch:
        return None
