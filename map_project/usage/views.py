"""The API of usage."""

from django.db import OperationalError
from django.http import HttpResponse
from django.utils.cache import patch_vary_headers
from rest_framework.request import Request
from rest_framework.response import Response

from map_project.api.errors import BadRequest
from map_project.postgresql.queries import QUERY_CANCELED, sqlstate
from map_project.tenants.viewsets import CallerViewSet
from map_project.usage import openapi
from map_project.usage.formats import csv_response, report_body
from map_project.usage.models import Usage
from map_project.usage.periods import read_period
from map_project.usage.reports import read_group_by, usage_of

_JSON, _CSV = "json", "csv"
_TOO_SLOW = "The range has too many runs to add up in time. Choose a shorter range."


@openapi.documented
class UsageViewSet(CallerViewSet[Usage]):
    """What the runs of the tenant add up to."""

    http_method_names = ["get", "head"]
    query_parameters = {"retrieve": ["from", "to", "timezone", "group_by", "format"]}

    def retrieve(self, request: Request) -> HttpResponse:
        query = request.query_params
        response_format = _read_format(request)
        group_by = read_group_by(query.get("group_by"))
        try:
            report = usage_of(self.caller.tenant_id, read_period(query), group_by)
        except OperationalError as error:
            if sqlstate(error) != QUERY_CANCELED:
                raise
            raise BadRequest(_TOO_SLOW) from None
        response: HttpResponse = (
            csv_response(report) if response_format == _CSV else Response(report_body(report))
        )
        patch_vary_headers(response, ["Accept"])
        return response


def _read_format(request: Request) -> str:
    """Return the format of the parameter, else the one that `Accept` prefers, else JSON."""
    if (text := request.query_params.get("format")) is None:
        preferred = request.get_preferred_type(["application/json", "text/csv"])
        return _CSV if preferred == "text/csv" else _JSON
    if text not in (_JSON, _CSV):
        raise BadRequest("format must be json or csv.")
    return text
