"""What every resource of tenants needs besides its model, so that none is forgotten."""

import pytest
from django.contrib.auth.models import Permission, User
from django.test import RequestFactory
from django.urls import reverse

from map_project.desk.navigation import sidebar
from map_project.tenants.models import TenantOwned

MODELS = TenantOwned.__subclasses__()


@pytest.mark.parametrize("model", MODELS)
def test_lists_have_an_order_and_an_index(model: type[TenantOwned]) -> None:
    assert model._meta.ordering == ("created_at", "id")
    assert ["tenant", "created_at", "id"] in [index.fields for index in model._meta.indexes]


@pytest.mark.parametrize("group", ["operator", "auditor"])
@pytest.mark.parametrize("model", MODELS)
def test_the_groups_may_view_it(model: type[TenantOwned], group: str) -> None:
    label, name = model._meta.app_label, model._meta.model_name
    granted = Permission.objects.filter(
        group__name=group, content_type__app_label=label, codename=f"view_{name}"
    )
    assert granted.exists()


@pytest.mark.parametrize("model", MODELS)
def test_the_sidebar_has_a_link(model: type[TenantOwned]) -> None:
    request = RequestFactory().get("/admin/")
    request.user = User(is_superuser=True)
    links = {item["link"] for group in sidebar(request) for item in group["items"]}
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    assert reverse(name) in links
