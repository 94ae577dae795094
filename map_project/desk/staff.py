"""Staff users, groups, the log of changes, and failed sign-ins."""

from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from django.utils.html import format_html
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from map_project.tenants.admin import BaseAdmin, ReadOnlyAdmin, UndeletableAdmin

admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class StaffUserAdmin(UserAdmin[User], UndeletableAdmin):
    """Staff users are deactivated instead of deleted: the log refers to them."""

    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm
    list_display = ("username", "email", "role", "is_active", "last_login")
    list_filter = ("is_active", "is_superuser", "groups")

    @admin.display(description="role")
    def role(self, user: User) -> str:
        if user.is_superuser:
            return "superuser"
        return ", ".join(group.name for group in user.groups.all()) or "no group"

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("groups")

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """The form that removes a password reports no change."""
        if isinstance(form, AdminPasswordChangeForm):
            return f"password: {'changed' if form.user.has_usable_password() else 'removed'}"
        return super().construct_change_message(request, form, formsets, add)


@admin.register(Group)
class StaffGroupAdmin(GroupAdmin, BaseAdmin):
    """Groups of staff users and their permissions."""


@admin.register(LogEntry)
class LogEntryAdmin(ReadOnlyAdmin):
    """The read-only log of changes by staff users."""

    list_display = ("action_time", "user", "action", "content_type", "object_repr", "message")
    list_display_links = None
    list_filter = ("action_flag", "content_type")
    list_select_related = ("user", "content_type")
    list_per_page = 50
    search_fields = ("object_repr", "user__username", "object_id", "change_message")
    show_full_result_count = False
    ordering = ("-action_time", "-id")

    @admin.display(description="action")
    def action(self, entry: LogEntry) -> str:
        tones = {1: "good", 2: "busy", 3: "bad"}
        return format_html(
            '<span class="desk-badge desk-{}">{}</span>',
            tones.get(entry.action_flag, "plain"),
            entry.get_action_flag_display(),
        )

    @admin.display(description="change")
    def message(self, entry: LogEntry) -> str:
        return entry.get_change_message()


@admin.register(AccessAttempt)
class AccessAttemptAdmin(BaseAdmin):
    """Failed sign-ins. Deleting an entry unlocks its address."""

    list_display = ("attempt_time", "ip_address", "username", "failures_since_start", "user_agent")
    list_filter = ("attempt_time",)
    search_fields = ("ip_address", "username")
    fields = (*list_display, "path_info")
    ordering = ("-attempt_time",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
