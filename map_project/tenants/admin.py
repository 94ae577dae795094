"""Tenants and keys in the admin, and what the admin of every tenant's rows shares.

Tenants are deactivated and keys revoked there, never deleted. The desk puts more on their pages.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError
from django.db.models import Field, ForeignKey, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from rest_framework import serializers
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.widgets import UnfoldAdminTextareaWidget

from map_project.api.errors import ApiError
from map_project.api.fields import parse_uuid
from map_project.tenants.models import ApiKey, Tenant, TenantOwned


class Undeletable(ModelAdmin):
    """Rows of which a record must remain."""

    list_fullwidth = True
    compressed_fields = True

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnly(Undeletable):
    """Rows that nobody writes by hand."""

    actions = None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class KeptText(forms.CharField):
    """A text that is kept byte for byte, but for the line ends, which a browser writes its own way."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "strip": False})

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")

    def validate(self, value: Any) -> None:
        super().validate(value.strip())

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(super().has_changed((initial or "").replace("\r\n", "\n"), data))


def by_api(field: "serializers.Field[Any, Any, Any, Any]", value: Any) -> Any:
    """What the API's field makes of it. What that refuses is refused here, in the same sentences."""
    try:
        return field.run_validation(value)
    except serializers.ValidationError as error:
        raise forms.ValidationError([*map(str, cast(list[Any], error.detail))]) from None


class TenantOwnedForm(forms.ModelForm[TenantOwned]):
    """Validates names against the others of the tenant, although the tenant itself cannot change."""

    def _get_validation_exclusions(self) -> set[str]:
        return super()._get_validation_exclusions() - {"tenant"}  # type: ignore[misc]


class TenantOwnedAdmin(ModelAdmin):
    """Rows of a tenant. They cannot move to another; a change bumps `updated_at`, as in the API."""

    form = TenantOwnedForm
    list_fullwidth = True
    list_filter_submit = True
    list_filter: Sequence[Any] = (("tenant", AutocompleteSelectFilter),)
    list_select_related = ("tenant",)
    list_per_page = 50
    autocomplete_fields: tuple[str, ...] = ("tenant",)
    ordering = ("-created_at", "-id")
    readonly_fields: tuple[str, ...] = ("id", "created_at", "updated_at")
    kept_texts: tuple[str, ...] = ("description",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "tenant") if obj else ()

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name in self.kept_texts:
            options["form_class"] = KeptText
        if db_field.name == "description":
            options["widget"] = UnfoldAdminTextareaWidget(attrs={"rows": 4})
        return super().formfield_for_dbfield(db_field, request, **options)

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **options: Any
    ) -> Any:
        field = super().formfield_for_foreignkey(db_field, request, **options)
        return without_shortcuts(field)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """A form that may offer the rows of one tenant alone asks for them with `?tenant=`."""
        tenant = parse_uuid(request.GET.get("tenant", ""))
        if "autocomplete" in request.path and tenant:
            queryset = queryset.filter(tenant_id=tenant)
        return cast(
            tuple[QuerySet[Any], bool], super().get_search_results(request, queryset, search_term)
        )

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        if not change:
            super().save_model(request, obj, form, change)
        elif form.changed_data:
            self.write_changes(obj, {name: form.cleaned_data[name] for name in form.changed_data})

    def write_changes(self, obj: Any, fields: Mapping[str, Any]) -> None:
        """Writes what the form changed and nothing else."""
        type(obj).objects.filter(pk=obj.pk).update(**fields, updated_at=Now())

    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        view = super().changeform_view
        return self._unless_raced(request, lambda: view(request, *args, **options))

    def delete_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        view = super().delete_view
        return self._unless_raced(request, lambda: view(request, *args, **options))

    def _unless_raced(self, request: HttpRequest, view: Callable[[], HttpResponse]) -> HttpResponse:
        """What was valid when the form was checked may not be at the commit."""
        try:
            return view()
        except (IntegrityError, ObjectDoesNotExist, ApiError):
            message = (
                "Somebody else changed this at the same moment. Nothing was saved; look again."
            )
            self.message_user(request, message, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())


def without_shortcuts(field: Any) -> Any:
    """A field whose choice has no pencil or cross beside it: tenants are not made in passing."""
    for shortcut in (
        "can_add_related",
        "can_change_related",
        "can_delete_related",
        "can_view_related",
    ):
        setattr(field.widget, shortcut, False)
    return field


@admin.register(Tenant)
class TenantAdmin(Undeletable):
    """A tenant: its name, whether it is active, its quota."""

    list_display: tuple[str, ...] = (
        "name",
        "is_active",
        "rate_limit_requests",
        "rate_limit_window_seconds",
    )
    list_filter = ("is_active",)
    list_per_page = 50
    search_fields = ("name",)
    readonly_fields = ("id", "created_at")


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly):
    """Keys as they are known here: never the key itself."""

    list_display: tuple[str, ...] = (
        "prefix",
        "tenant",
        "name",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_select_related = ("tenant",)
    list_per_page = 50
    search_fields = ("prefix", "name", "tenant__name")
    ordering = ("-created_at", "-id")
    exclude = ("key_hash",)
