"""Staff users, groups, and failed sign-ins."""

from typing import Any

from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin, UserAdmin
from django.contrib.auth.models import Group, User
from django.http import HttpRequest
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm

from map_project.tenants.admin import BaseAdmin, UndeletableAdmin

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
