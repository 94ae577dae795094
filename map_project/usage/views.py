"""The API of usage."""

from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request
from rest_framework.response import Response

from map_project.api.errors import BadRequest
from map_project.tenants.viewsets import CallerViewSet
from map_project.usage import openapi
from map_project.usage.formats import file_name, report_body, report_csv
from map_project.usage.models import Usage
from map_project.usage.periods import read_period
from map_project.usage.reports import COLUMNS, Report, usage_of

_JSON, _CSV = "json", "csv"


@openapi.documented
class UsageViewSet(CallerViewSet[Usage]):
    """What the runs of the tenant add up to."""

    http_method_names = ["get", "head"]
    query_parameters = {"retrieve": ["from", "to", "timezone", "group_by", "format"]}

    def retrieve(self, request: Request) -> HttpResponse:
        query = request.query_params
        response_format = _read_format(request)
        group_by = _read_group_by(query.get("group_by"))
        report = usage_of(self.caller.tenant_id, read_period(query), group_by)
        response: HttpResponse = (
            csv_response(report) if response_format == _CSV else Response(report_body(report))
        )
        patch_vary_headers(response, ["Accept"])
        return response


def csv_response(report: Report) -> HttpResponse:
    """Return a response that browsers save as a file."""
    return HttpResponse(
        report_csv(report),
        content_type="text/csv; charset=utf-8; header=present",
        headers={"Content-Disposition": f'attachment; filename="{file_name(report.period)}.csv"'},
    )


def _read_format(request: Request) -> str:
    """Return the format of the parameter, else the one that `Accept` prefers, else JSON."""
    if (text := request.query_params.get("format")) is None:
        preferred = request.get_preferred_type(["application/json", "text/csv"])
        return _CSV if preferred == "text/csv" else _JSON
    if text not in (_JSON, _CSV):
        raise BadRequest("format must be json or csv.")
    return text


def _read_group_by(text: str | None) -> list[str]:
    names = [] if text is None else text.split(",")
    if any(name not in COLUMNS for name in names) or len({*names}) < len(names):
        raise BadRequest(
            f"group_by must be one of {', '.join(COLUMNS)}, or several of them, separated by commas."
        )
    return names
