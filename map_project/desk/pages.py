"""Helpers shared by the pages of tenants and of API keys."""

import uuid
from typing import Any

from django import forms
from django.contrib.admin import ModelAdmin
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from map_project.tenants.models import ApiKey, Tenant


def get_object(
    model_admin: "ModelAdmin[Any]", request: HttpRequest, object_id: str, *permissions: str
) -> Any:
    """The object. Raises Http404 if the user may not view it, PermissionDenied without a permission."""
    found = model_admin.get_object(request, unquote(object_id))
    if found is None or not model_admin.has_view_permission(request, found):
        raise Http404
    if not request.user.has_perms(permissions):
        raise PermissionDenied
    return found


def tenant_url(tenant_id: uuid.UUID) -> str:
    """The URL of the tenant's page."""
    return reverse("admin:tenants_tenant_change", args=(tenant_id,))


def render_form(
    model_admin: "ModelAdmin[Any]",
    request: HttpRequest,
    tenant: Tenant,
    form: forms.Form | None,
    **texts: str,
) -> HttpResponse:
    """A page with a form, or with a confirmation if `form` is None. Both POST to the same URL."""
    context = {
        **model_admin.admin_site.each_context(request),
        **texts,
        "opts": model_admin.opts,
        "form": form,
        "tenant": tenant,
        "back": tenant_url(tenant.pk),
        "danger": form is None,
    }
    return TemplateResponse(request, "desk/form.html", context)


def render_new_key(
    model_admin: "ModelAdmin[Any]", request: HttpRequest, key: ApiKey, text: str | None
) -> HttpResponse:
    """The page that shows a new key, or None if it was shown. Like all admin pages it is `no-store`."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "API key created",
        "opts": model_admin.opts,
        "key": key,
        "text": text,
        "back": tenant_url(key.tenant_id),
    }
    return TemplateResponse(request, "desk/new_key.html", context)
