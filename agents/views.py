"""The API of agents and language models. Runs are in `executions`."""

from django.conf import settings
from django.db.models import QuerySet
from rest_framework.mixins import ListModelMixin
from rest_framework.viewsets import ModelViewSet

from agents import openapi, services
from agents.errors import AgentNotFound
from agents.models import Agent, LanguageModel
from agents.serializers import AgentSerializer, LanguageModelSerializer
from map_project.api.filters import ExactFilter
from map_project.tenants.viewsets import CallerViewSet, TenantViewSet


@openapi.documented
class AgentViewSet(TenantViewSet[Agent], ModelViewSet[Agent]):
    """The tenant's agents."""

    queryset = Agent.objects.with_tools()
    rows = AgentSerializer.rows(Agent.objects.all())
    row_actions = ("list", "retrieve")
    serializer_class = AgentSerializer
    filter_backends = (ExactFilter,)
    exact_filters = {
        "tool_name": ("tools__name", "Returns only agents that use the tool with this name.")
    }
    resource = "agent"
    not_found = AgentNotFound

    def perform_destroy(self, instance: Agent) -> None:
        services.delete_agent(agent=instance)


@openapi.models_documented
class LanguageModelViewSet(ListModelMixin, CallerViewSet[LanguageModel]):
    """The models that the tenant may use."""

    http_method_names = ["get", "head"]
    queryset = LanguageModel.objects.all()
    serializer_class = LanguageModelSerializer

    def get_queryset(self) -> QuerySet[LanguageModel]:
        models = (
            super().get_queryset().filter(is_active=True, provider__in=settings.MODEL_PROVIDERS)
        )
        if self.caller.allowed_models is None:
            return models
        return models.filter(name__in=self.caller.allowed_models)
