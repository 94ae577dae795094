"""The page "Queue": the runs that have not ended, and their cancellation."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django.contrib import messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import OperationalError
from django.db.models import Count, Min, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone

from executions.display import duration, tone
from executions.models import Approval, Execution
from executions.operators import can_cancel, cancel_as_operator
from map_project.api.fields import parse_uuid
from map_project.desk.dashboard import history_url, none_on_timeout
from map_project.desk.operations.selection import render, require, selected_tenant
from map_project.desk.queue import queue
from map_project.postgresql.queries import LOCK_NOT_AVAILABLE, sqlstate
from map_project.tenants.models import Tenant

ROWS_SHOWN = 100
_COLUMNS = (
    *("status", "agent_id", "agent_name", "model", "created_at", "started_at", "background"),
    *("attempt", "lease_owner", "lease_expires_at", "awaits_slot", "tenant"),
)
Status = Execution.Status


@dataclass(frozen=True, slots=True)
class Section:
    """The runs with one status: the oldest of them, and how many there are."""

    status: str
    title: str
    number: int
    oldest: str
    rows: list[dict[str, Any]]
    url: str


def queue_view(request: HttpRequest) -> HttpResponse:
    """The runs that have not ended, of one tenant or of all, the oldest first."""
    require(request, "executions.view_execution")
    form, tenant = selected_tenant(request)
    now = timezone.now()
    context = {
        "title": "Queue",
        "form": form,
        "tenant": tenant,
        "now": now,
        "queue": none_on_timeout(lambda: queue(now)),
        "sections": [none_on_timeout(partial(read, tenant, now)) for read in _SECTIONS],
        "can_cancel": can_cancel(request),
        "query": _query(tenant),
    }
    return render(request, "desk/queue.html", context)


def cancel_view(request: HttpRequest) -> HttpResponse:
    """Ask for confirmation; cancel the runs of the form when it is given. On POST only."""
    if not can_cancel(request):
        raise PermissionDenied
    _, tenant = selected_tenant(request)
    runs = _unfinished(_selected(request))
    back = f"{reverse('admin:queue')}{_query(tenant)}"
    if runs and "confirmed" not in request.POST:
        context = {
            "title": "Cancel runs?",
            "runs": [_row(run, timezone.now()) for run in runs],
            "back": back,
        }
        return render(request, "desk/cancel_runs.html", context)
    _cancel_all(request, runs)
    return HttpResponseRedirect(back)


def _cancel_all(request: HttpRequest, runs: list[Execution]) -> None:
    """Cancel each run in a transaction of its own, and report how many were cancelled."""
    results = [_cancel(run, request) for run in runs]
    if cancelled := results.count("cancelled"):
        messages.success(request, f"Cancelled {cancelled} run{'s' if cancelled > 1 else ''}.")
    if busy := results.count("busy"):
        messages.error(request, f"{busy} could not be cancelled, because they are being changed.")
    if not cancelled and not busy:
        messages.warning(request, "No selected run can be cancelled: all have ended.")


def _cancel(run: Execution, request: HttpRequest) -> str:
    try:
        return "cancelled" if cancel_as_operator(run, request.user) else "ended"
    except OperationalError as error:
        if sqlstate(error) != LOCK_NOT_AVAILABLE:
            raise
        return "busy"


def _selected(request: HttpRequest) -> list[uuid.UUID]:
    """The IDs in the form: of the row whose button was pressed, or of the selected rows."""
    texts = request.POST.getlist("run") or request.POST.getlist("selected")
    ids = [pk for pk in map(parse_uuid, texts) if pk]
    if len(ids) < len(texts) or len(ids) > len(_SECTIONS) * ROWS_SHOWN:
        raise BadRequest("These are no IDs of runs on one page.")
    return ids


def _unfinished(ids: list[uuid.UUID]) -> list[Execution]:
    runs = Execution.objects.filter(pk__in=ids, status__in=Execution.UNFINISHED)
    return [*runs.select_related("tenant").only(*_COLUMNS, "tenant__name").order_by("created_at")]


def _running(tenant: Tenant | None, now: datetime) -> Section:
    return _section(Status.RUNNING, "Running", tenant, now)


def _queued(tenant: Tenant | None, now: datetime) -> Section:
    return _section(Status.QUEUED, "Queued", tenant, now)


def _waiting(tenant: Tenant | None, now: datetime) -> Section:
    """Runs that wait for approvals, with the tools. They are found by their pending approvals."""
    pending = Approval.objects.filter(status=Approval.Status.PENDING).order_by()
    waiting = Execution.objects.filter(pk__in=pending.values("execution"))
    section = _section(Status.REQUIRES_ACTION, "Waiting for approval", tenant, now, waiting)
    shown = pending.filter(execution__in=[row["run"].pk for row in section.rows])
    calls: dict[uuid.UUID, list[Approval]] = {}
    for approval in shown.order_by("position"):
        calls.setdefault(approval.execution_id, []).append(approval)
    for row in section.rows:
        row["approvals"] = calls.get(row["run"].pk, [])
    return section


_SECTIONS: tuple[Callable[[Tenant | None, datetime], Section], ...] = (_running, _queued, _waiting)


def _section(
    status: Status,
    title: str,
    tenant: Tenant | None,
    now: datetime,
    runs: QuerySet[Execution] | None = None,
) -> Section:
    runs = Execution.objects.all() if runs is None else runs
    runs = runs.filter(status=status)
    filters: dict[str, Any] = {"status__exact": status.value, "period": "all"}
    if tenant:
        runs = runs.filter(tenant=tenant)
        filters["tenant__id__exact"] = tenant.pk
    counts = runs.order_by().aggregate(number=Count("*"), oldest=Min("created_at"))
    rows = runs.select_related("tenant").only(*_COLUMNS, "tenant__name")
    return Section(
        status=status.value,
        title=title,
        number=counts["number"],
        oldest=_age(counts["oldest"], now),
        rows=[_row(run, now) for run in rows.order_by("created_at", "pk")[:ROWS_SHOWN]],
        url=history_url(**filters),
    )


def _row(run: Execution, now: datetime) -> dict[str, Any]:
    return {
        "run": run,
        "tone": tone(run.status),
        "age": _age(run.created_at, now),
        "worker": _worker(run),
        "has_lost_lease": _has_lost_lease(run, now),
    }


def _worker(run: Execution) -> str:
    if run.status == Status.QUEUED:
        return "waits for a free slot or the budget of the tenant" if run.awaits_slot else ""
    return run.lease_owner


def _has_lost_lease(run: Execution, now: datetime) -> bool:
    """Whether the process that ran it has not extended its lease. The run will be recovered."""
    expires_at = run.lease_expires_at
    return run.status == Status.RUNNING and expires_at is not None and expires_at < now


def _age(time: datetime | None, now: datetime) -> str:
    return "" if time is None else duration(1000 * max((now - time).total_seconds(), 0))


def _query(tenant: Tenant | None) -> str:
    return f"?{urlencode({'tenant': tenant.pk})}" if tenant else ""
