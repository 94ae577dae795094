"""No query, path or form of a client is an error 500 in the admin, and each error is an HTML page."""

from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from agents.models import Agent, LanguageModel
from executions.models import Execution
from map_project.tenants.keys import issue_key
from map_project.tenants.models import ApiKey, Tenant
from tests.factories import AgentFactory, ExecutionFactory
from tests.unit.desk.conftest import signed_in
from tools.models import Tool

# A date without a time, in the query of a list of sign-in attempts.
pytestmark = pytest.mark.filterwarnings("ignore:DateTimeField:RuntimeWarning")

MODELS = sorted(admin.site._registry, key=lambda model: model._meta.label)
LABELS = [model._meta.label_lower.replace(".", "_") for model in MODELS]

VALUES = (
    "",
    "x",
    "\0",
    "a\0b",
    "(",
    "-1",
    "0",
    "1e999",
    "99999999999",
    "9" * 30,
    "9" * 5_000,
    "NaN",
    "None",
    "null",
    "[]",
    '{"a": 1}',
    "true",
    "0001-01-01",
    "9999-12-31",
    "0001-01-01 00:00:00+23:59",
    "9999-12-31 23:59:59-23:59",
    "99999-01-01",
    "2026-13-45",
    "%s%%",
    "{}{0}",
    "<script>",
    "\N{ROCKET}\ud800".encode("utf-8", "surrogatepass"),
    b"\xff\xfe",
    "01a20339-9760-728b-9175-e23e81d85b6a",
    "1,2",
)
# Suffixes of a field's name.
LOOKUPS = (
    "",
    "__exact",
    "__iexact",
    "__year",
    "__year__gte",
    "__date",
    "__week_day",
    "__hour",
    "__regex",
    "__in",
    "__range",
    "__isnull",
    "__gte",
    "__contains",
    "__has_key",
    "__search",
    "__nothing",
    "__id__exact",
    "__name__regex",
    "__tenant__name__startswith",
    "__password__startswith",
    "_from",
    "_to",
    "__",
)
CONTROLS = (
    *("o", "p", "q", "all", "e", "_popup", "_to_field", "_facets", "_changelist_filters"),
    *("_changelist_filters__", "period", "agent", "model", "before", "tenant", "s", "range"),
    *("page", "term", "__", "\0", "\N{ROCKET}", "pk", "pk__in", "id", "x" * 500),
)
FORM = "application/x-www-form-urlencoded"
KEY_PAGES = ("issue-key/", "reset-window/", "revoke/", "rotate/", "new-key/", "password/", "x/")


@pytest.fixture(scope="module")
def client() -> Client:
    """A superuser whose client gets the error pages."""
    client = signed_in("superuser")
    client.raise_request_exception = False
    return client


@pytest.fixture(scope="module")
def rows() -> dict[str, Model]:
    """A row of each model that has any, by the name in the URLs of its pages."""
    agent = AgentFactory.create(with_tools=1)
    ExecutionFactory.create(agent=agent)
    issue_key(tenant=agent.tenant)
    user = User.objects.latest("pk")
    kinds: tuple[type[Model], ...] = (Agent, Execution, ApiKey, Tenant, Tool, LanguageModel, Group)
    found: list[Any] = [user, *(kind._default_manager.first() for kind in kinds)]
    return {row._meta.label_lower.replace(".", "_"): row for row in found}


def check(response: Any, url: str) -> None:
    """An ordinary page, or an error that is a page."""
    shown = url[:300]
    # With the rows of all other tests, a query can exceed its time limit, which has its own page.
    is_slow = response.status_code == 503 and b"This took too long" in response.content
    assert response.status_code < 500 or is_slow, shown
    if response.status_code >= 400:
        assert response["Content-Type"].startswith("text/html"), shown
        assert b"</html>" in response.content, shown
        assert response["Content-Security-Policy"]


def queries(names: Iterable[str], count: int = len(VALUES)) -> Iterator[str]:
    """Each name with `count` of the values, which are different ones for each name."""
    for place, name in enumerate(names):
        for n in range(count):
            yield urlencode({name: VALUES[(place * count + n) % len(VALUES)]})


def lookups(model: type[Model]) -> Iterator[str]:
    """Each field with a third of the suffixes, which are other ones for the next field."""
    fields = ("pk", *(field.name for field in model._meta.get_fields()))
    for place, field in enumerate(fields, MODELS.index(model)):
        for suffix in LOOKUPS[place % 3 :: 3]:
            yield field + suffix


def walk(client: Client, urls: Iterable[str]) -> None:
    for url in urls:
        check(client.get(url), url)


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_lists(client: Client, rows: dict[str, Model], label: str) -> None:
    path = reverse(f"admin:{label}_changelist")
    specs = client.get(path).context["cl"].filter_specs
    offered = [name for spec in specs for name in spec.expected_parameters()]
    found = [
        *queries(lookups(MODELS[LABELS.index(label)]), 1),
        *queries(CONTROLS, 1),
        *queries(("p", "o", "q", "before", *offered), 5),
        f"o={'1.' * 2_000}",
        "&".join(["q=x"] * 2_000),
        f"q={'a+' * 3_000}",
        f"q={'%22' * 1_999}",
        *(f"{name}=%00&{name}=1" for name in offered),
        "e=1&" + urlencode(dict.fromkeys(offered, "(")),
    ]
    walk(client, (f"{path}?{query}" for query in found))


@pytest.mark.parametrize(
    "query",
    ["created_at__year=99999999999", "name__regex=(", "id__exact=x", "tenant__name=x", "nothing=x"],
)
def test_a_lookup_that_no_filter_offers_is_refused(client: Client, query: str) -> None:
    for label in LABELS:
        url = f"{reverse(f'admin:{label}_changelist')}?{query}"
        response = client.get(url)
        check(response, url)
        assert response.status_code == 400, url


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_pages_of_rows(client: Client, rows: dict[str, Model], label: str) -> None:
    base = reverse(f"admin:{label}_changelist")
    ids = [quote(value, safe="") for value in (*VALUES, "_00", "a/b", "_FF_FE", "../..") if value]
    walk(client, (f"{base}{pk}/change/" for pk in ids))
    # Other values for the next page and the next model.
    for place, verb in enumerate(("delete/", "history/", "", *KEY_PAGES), LABELS.index(label)):
        walk(client, (f"{base}{pk}/{verb}" for pk in ids[place % 6 :: 6]))
    row = rows.get(label)
    pages = [f"{base}add/"]
    if row:
        pages += [f"{base}{row.pk}/{verb}/" for verb in ("change", "delete", "history")]
    fields = [field.name for field in MODELS[LABELS.index(label)]._meta.get_fields()]
    for page in pages:
        walk(client, (f"{page}?{query}" for query in queries(CONTROLS[::2], 1)))
    walk(client, (f"{pages[0]}?{query}" for query in queries(fields, 4)))


@pytest.mark.slow
@pytest.mark.parametrize("label", LABELS)
def test_forms(client: Client, rows: dict[str, Model], label: str) -> None:
    base = reverse(f"admin:{label}_changelist")
    row = rows.get(label)
    fields = [field.name for field in MODELS[LABELS.index(label)]._meta.get_fields()]
    fields += ["selected_tools", "temperature", "max_output_tokens", "password1", "password2"]
    # Other values for each model.
    for value in VALUES[LABELS.index(label) % 3 :: 3]:
        sent = {
            "action": "delete_selected",
            "_selected_action": value,
            "select_across": value,
            "index": value,
        }
        check(client.post(base, sent), f"{base} {value!r}")
        check(client.post(base, sent | {"action": value}), f"{base} {value!r}")
        for page in (f"{base}add/", f"{base}{row.pk}/change/") if row else ():
            # The field `tenant` of another row would create it: names of rows are unique and long.
            sent = dict.fromkeys(fields, value) | {"_popup": value, "_to_field": value}
            check(client.post(page, sent), f"{page} {value!r}")


def test_other_pages(client: Client) -> None:
    pages = (
        *("", "login/", "logout/", "password_change/", "search/", "jsi18n/", "autocomplete/"),
        *("failures/", "tool-calls/", "usage/", "queue/", "queue/cancel/"),
    )
    names = (*CONTROLS, "next", "app_label", "model_name", "field_name", "month")
    # Other values for the next page.
    for place, page in enumerate(pages):
        shifted = (*names[place:], *names[:place])
        walk(client, (f"/admin/{page}?{query}" for query in queries(shifted, 1)))
    walk(
        client,
        (f"/admin/{quote(value, safe='')}{rest}" for value in VALUES for rest in ("", "/", "/x/")),
    )
    for pk in (1, "x", "\0", "9" * 30):
        walk(
            client, (f"/admin/r/{content_type}/{quote(str(pk))}/" for content_type in (1, 2, 7, 99))
        )
        walk(client, [f"/admin/agents/languagemodel/{quote(str(pk))}/test/"])


@pytest.mark.slow
def test_autocomplete(client: Client) -> None:
    fields = [field for model in apps.get_models() for field in model._meta.get_fields()]
    for place, field in enumerate(fields):
        if model := field.model:
            source = {
                "app_label": model._meta.app_label,
                "model_name": model._meta.model_name,
                "field_name": field.name,
            }
            # Other values for each field.
            for query in [*queries(("term", "page", "tenant"))][place % 10 :: 45]:
                url = f"/admin/autocomplete/?{urlencode(source)}&{query}"
                check(client.get(url), url)
    for value in VALUES:
        source = {"app_label": "agents", "model_name": "agent", "field_name": "tools"}
        url = f"/admin/autocomplete/?{urlencode(source | {'term': value, 'tenant': value})}"
        check(client.get(url), url)


def test_errors_are_pages(client: Client) -> None:
    large = client.post("/admin/login/", "x" * 2_000_000, content_type="text/plain")
    assert large.status_code == 413
    check(large, "413")
    for path, status in {
        "/admin/nowhere": 404,
        "/admin/r/1/1/": 404,
        "/admin/logout/": 405,
        "/admin/tenants/tenant/?name__regex=(": 400,
        "/admin/autocomplete/?term=%00": 400,
        "/admin/autocomplete/": 403,
    }.items():
        response = client.get(path)
        assert response.status_code == status, path
        check(response, path)
    assert Client().get("/admin/nowhere").status_code == 302
    assert client.get("/administrator")["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE", "BREW"])
def test_methods(client: Client, rows: dict[str, Model], method: str) -> None:
    pages = ["/admin/", *(f"/admin/{page}/" for page in ("login", "logout", "search"))]
    for label, row in rows.items():
        base = reverse(f"admin:{label}_changelist")
        pages += [base, f"{base}add/", f"{base}{row.pk}/change/", f"{base}{row.pk}/delete/"]
    for page in pages:
        response = client.generic(method, page, b"x", content_type="text/plain")
        assert response.status_code < 500, page


def test_a_body_that_cannot_be_parsed_is_an_error_page(client: Client) -> None:
    for content_type in ("multipart/form-data", "multipart/form-data; boundary=x", "text/\xff"):
        for page in ("login/", "tenants/tenant/add/", "tenants/tenant/"):
            check(client.generic("POST", f"/admin/{page}", b"--y\r\n", content_type), page)
    fields = "&".join(f"f{n}=1" for n in range(2_000))
    check(client.generic("POST", "/admin/login/", fields, FORM), "fields")
    check(client.get(f"/admin/?{fields[:8_000]}"), "query")
