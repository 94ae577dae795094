"""The caller's own account."""

import logging
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from map_project.tenants.errors import InvalidApiKey
from map_project.tenants.models import ApiKey
from map_project.tenants.scopes import ordered
from map_project.tenants.viewsets import CallerViewSet
from map_project.usage.budgets import read_spending
from ratelimit import openapi
from ratelimit.limiter import LimiterUnavailable, Quota, Usage, default_limiter
from ratelimit.serializers import MeSerializer

logger = logging.getLogger("map.ratelimit")


@openapi.me_documented
class MeViewSet(CallerViewSet[ApiKey]):
    """The API key of the request, its tenant and the quota. Takes no unit of the quota."""

    http_method_names = ["get", "head"]
    queryset = ApiKey.objects.select_related("tenant")
    serializer_class = MeSerializer

    def retrieve(self, request: Request) -> Response:
        key = self.get_queryset().filter(pk=self.caller.key_id).first()
        if key is None:  # deleted since it was cached
            raise InvalidApiKey
        account = {
            "tenant": key.tenant,
            "api_key": key,
            "scopes": ordered(self.caller.scopes),
            "rate_limit": self._rate_limit(),
            "budgets": read_spending(key.tenant_id).periods if key.tenant.has_budget else (),
        }
        return Response(self.get_serializer(account).data)

    def _rate_limit(self) -> dict[str, Any]:
        caller = self.caller
        limit, window_seconds = caller.rate_limit_requests, caller.rate_limit_window_seconds
        usage: Usage | None = None
        try:
            (usage,) = default_limiter().peek([Quota(caller.tenant_id, limit, window_seconds)])
        except LimiterUnavailable as error:
            logger.warning("the usage is unknown: %s", error)
        return {
            "limit": limit,
            "window_seconds": window_seconds,
            "remaining": usage and usage.remaining,
            "reset_after_seconds": usage and usage.reset_after_seconds,
        }
