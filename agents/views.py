"""Agents of a tenant: list, make, change, delete. Running one is in `executions`. The models there are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from django.db import IntegrityError
from rest_framework.request import Request
from rest_framework.response import Response

from agents import language_models, openapi, queries, services
from agents.language_models import KnownModel
from agents.models import Agent, LanguageModel
from agents.serializers import AgentBody, AgentSerializer, LanguageModelSerializer
from map_project.api.errors import ApiError
from map_project.api.renderers import Answer
from map_project.tenants.viewsets import TenantViewSet


@openapi.documented
class AgentViewSet(TenantViewSet[Agent]):
    """The tenant's agents."""

    model = Agent
    resource = "agent"
    serializer_class = AgentSerializer
    body_class = AgentBody
    one = queries.ONE

    def list(self, request: Request) -> Answer:
        tool_name = request.query_params.get("tool_name")
        if tool_name is not None:
            return self.page(queries.WITH_TOOL, name=tool_name)
        return self.page(queries.ALL)

    def create(self, request: Request) -> Answer:
        fields = {"tool_ids": [], **self._checked()}
        agent = services.create_agent(tenant_id=self.caller.tenant_id, **fields)
        return Answer(self.shown(agent), status=201)

    def retrieve(self, request: Request, pk: str) -> Answer:
        return Answer(self.row())

    def update(self, request: Request, pk: str, *, partial: bool = False) -> Answer:
        agent = self.get_object()
        if fields := self._checked(partial=partial):
            tool_ids = fields.pop("tool_ids", None)
            services.change_agent(agent=agent, fields=fields, tool_ids=tool_ids)
        return Answer(self.row())

    def partial_update(self, request: Request, pk: str) -> Answer:
        return self.update(request, pk, partial=True)

    def destroy(self, request: Request, pk: str) -> Response:
        services.delete_agent(agent=self.get_object())
        return Response(status=204)

    def _checked(self, *, partial: bool = False) -> dict[str, Any]:
        """The body, valid, and its model one that the tenant may use. Raises ApiError."""
        fields = self.validated_body(partial=partial)
        if fields.get("model") is not None:
            language_models.find(fields["model"], self.caller.allowed_models)
        return fields

    def conflict(self, constraint: str, error: IntegrityError) -> ApiError | None:
        if constraint == "agent_name_unique":
            message = "There is an agent with this name."
            return ApiError(400, "DUPLICATE_AGENT_NAME", message, {"name": self.sent["name"]})
        return None


@openapi.models_documented
class LanguageModelViewSet(TenantViewSet[LanguageModel]):
    """The models that the tenant may use; no query is made for them."""

    model = LanguageModel
    resource = "model"
    serializer_class = LanguageModelSerializer

    def list(self, request: Request) -> Answer:
        offered = language_models.offered(self.caller.allowed_models)
        page: list[KnownModel] = self.paginate_queryset(_Listed([*offered.values()])) or []  # type: ignore[arg-type]
        answer = self.get_paginated_response(LanguageModelSerializer(page, many=True).data)
        return cast(Answer, answer)


@dataclass(frozen=True, slots=True)
class _Listed:
    """A list that is paginated as a queryset is."""

    models: Sequence[KnownModel]

    def __getitem__(self, part: slice) -> Sequence[KnownModel]:
        return self.models[part]

    def count(self) -> int:
        return len(self.models)
