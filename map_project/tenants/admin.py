"""Base classes for the admin of every tenant's rows. `map_project.desk` registers tenants and keys."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from django import forms
from django.contrib import messages
from django.contrib.admin import ShowFacets
from django.contrib.admin.exceptions import DisallowedModelAdminLookup
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import DELETION
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import FieldDoesNotExist, ObjectDoesNotExist
from django.db import IntegrityError
from django.db.models import DecimalField, Field, ForeignKey, IntegerField, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from rest_framework import serializers
from unfold.admin import ModelAdmin
from unfold.contrib.filters.admin import AutocompleteSelectFilter
from unfold.views import ChangeList
from unfold.widgets import UnfoldAdminTextareaWidget

from map_project.api import audit
from map_project.api.errors import ApiError
from map_project.api.fields import parse_uuid
from map_project.tenants.models import TenantOwned
from map_project.tenants.number_fields import PlainDecimalField, PlainIntegerField

MAX_SEARCH_CHARACTERS = 100
_NUMBER_FIELDS = {DecimalField: PlainDecimalField, IntegerField: PlainIntegerField}


class FilteredChangeList(ChangeList):
    """A list that can be filtered by its filters only. Django allows every lookup of the model's fields."""

    def get_filters(self, request: HttpRequest) -> Any:
        try:
            filters = super().get_filters(request)
        except IncorrectLookupParameters as error:
            if isinstance(error.__cause__, FieldDoesNotExist):
                raise DisallowedModelAdminLookup from error
            raise
        # The third item has the parameters that no filter has read.
        if filters[2]:
            raise DisallowedModelAdminLookup
        return filters


class BaseAdmin(ModelAdmin):
    """What all models of the admin have in common."""

    # The counts of the filters' choices read the whole table.
    show_facets = ShowFacets.NEVER

    def get_changelist(self, request: HttpRequest, **options: Any) -> type[ChangeList]:
        return FilteredChangeList

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Without read-only fields on the page that adds a row: it has no values for them."""
        fieldsets = super().get_fieldsets(request, obj)
        if obj is not None:
            return fieldsets
        hidden = set(self.get_readonly_fields(request))
        return [
            (name, {**options, "fields": fields})
            for name, options in fieldsets
            if (fields := _without(options["fields"], hidden))
        ]

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **options: Any
    ) -> Any:
        for kind, form_class in _NUMBER_FIELDS.items():
            if isinstance(db_field, kind):
                options["form_class"] = form_class
        return super().formfield_for_dbfield(db_field, request, **options)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> Any:
        """Search for the beginning of the text: each of its words is a condition on each field."""
        return super().get_search_results(request, queryset, search_term[:MAX_SEARCH_CHARACTERS])

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """The row. The parameter `_to_field` of the page can be blank."""
        return super().get_object(request, object_id, from_field or None)

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False
    ) -> Any:
        """The text of the entry in the log: which fields changed, from which value to which."""
        return audit.form_changes(form, add=add) or "No fields changed."

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Entries with the values that the deleted rows had."""
        for row in queryset:
            text = audit.changes({}, audit.values(row), secret=audit.secret_fields(row))
            audit.record(row, text, user=request.user, flag=DELETION)

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        """Raises ValidationError, which is a 400, for an ID that is none."""
        for pk in request.POST.getlist(ACTION_CHECKBOX_NAME):
            self.opts.pk.to_python(pk)
        return super().response_action(request, queryset)


def _without(fields: Sequence[Any], hidden: Collection[str]) -> list[Any]:
    """The fields of a fieldset without the hidden ones. A nested sequence is one line of the form."""
    lines = [field if isinstance(field, str) else _without(field, hidden) for field in fields]
    return [line for line in lines if line and (isinstance(line, list) or line not in hidden)]


class UndeletableAdmin(BaseAdmin):
    """Rows that cannot be deleted, because a record of them must remain."""

    list_fullwidth = True

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(UndeletableAdmin):
    """Rows that cannot be added, changed or deleted."""

    actions = None

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class UnstrippedCharField(forms.CharField):
    """Text stored unchanged, except that a browser's CRLF line ends become LF."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "strip": False})

    def to_python(self, value: Any) -> str:
        return str(super().to_python(value)).replace("\r\n", "\n")

    def validate(self, value: Any) -> None:
        super().validate(value.strip())

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(super().has_changed((initial or "").replace("\r\n", "\n"), data))


def validate_as_api(field: "serializers.Field[Any, Any, Any, Any]", value: Any) -> Any:
    """Validate a form value with the API's serializer field. Raises forms.ValidationError."""
    try:
        return field.run_validation(value)
    except serializers.ValidationError as error:
        raise forms.ValidationError([*map(str, cast(list[Any], error.detail))]) from None


class TenantOwnedForm(forms.ModelForm[TenantOwned]):
    """Checks that the name is unique within the tenant, although the tenant itself is read-only."""

    def _get_validation_exclusions(self) -> set[str]:
        # Private in Django, which skips a unique constraint if one of its fields is not in the form.
        # `test_a_name_that_is_taken_is_told` fails without this.
        return super()._get_validation_exclusions() - {"tenant"}  # type: ignore[misc]


class TenantOwnedAdmin(BaseAdmin):
    """Rows of one tenant, which cannot change. A change sets `updated_at`, as in the API."""

    form = TenantOwnedForm
    list_fullwidth = True
    list_filter_submit = True
    list_filter: Sequence[Any] = (("tenant", AutocompleteSelectFilter),)
    list_select_related = ("tenant",)
    list_per_page = 50
    autocomplete_fields: tuple[str, ...] = ("tenant",)
    ordering = ("-created_at", "-id")
    readonly_fields: tuple[str, ...] = ("id", "created_at", "updated_at")
    unstripped_fields: tuple[str, ...] = ("description",)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "tenant") if obj else self.readonly_fields

    def formfield_for_dbfield(
        self, db_field: Field[Any, Any], request: HttpRequest, **options: Any
    ) -> Any:
        if db_field.name in self.unstripped_fields:
            options["form_class"] = UnstrippedCharField
        if db_field.name == "description":
            options["widget"] = UnfoldAdminTextareaWidget(attrs={"rows": 4})
        return super().formfield_for_dbfield(db_field, request, **options)

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **options: Any
    ) -> Any:
        """The select field, without links to add, change or delete the related row."""
        field = super().formfield_for_foreignkey(db_field, request, **options)
        for action in ("add", "change", "delete", "view"):
            setattr(field.widget, f"can_{action}_related", False)
        return field

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Autocomplete requests with `?tenant=` get the rows of that tenant only."""
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
            self.save_changes(obj, {name: form.cleaned_data[name] for name in form.changed_data})

    def save_changes(self, obj: Any, fields: Mapping[str, Any]) -> None:
        """Write the changed fields only."""
        type(obj).objects.filter(pk=obj.pk).update(**fields, updated_at=Now())

    def changeform_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        view = super().changeform_view
        return self._handle_conflict(request, lambda: view(request, *args, **options))

    def delete_view(self, request: HttpRequest, *args: Any, **options: Any) -> HttpResponse:
        view = super().delete_view
        return self._handle_conflict(request, lambda: view(request, *args, **options))

    def _handle_conflict(
        self, request: HttpRequest, view: Callable[[], HttpResponse]
    ) -> HttpResponse:
        """Run the view; redirect with a message if a concurrent change made the form invalid."""
        try:
            return view()
        except (IntegrityError, ObjectDoesNotExist, ApiError):
            message = (
                "Your changes were not saved, because another change was saved at the same "
                "time. Try again."
            )
            self.message_user(request, message, messages.ERROR)
            return HttpResponseRedirect(request.get_full_path())
