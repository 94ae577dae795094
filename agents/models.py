"""Agents, their tools, and the language models that they run on."""

from django.conf import settings
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Collate, JSONObject

from agents.base_urls import address
from map_project.api.json_text import JSONText
from map_project.api.secrets import TokenField
from map_project.tenants.models import TenantOwned
from tools.models import OrderedJSONField, Tool

MAX_STEPS = 50
MAX_TOOL_CALLS = 1_000
MAX_TOOLS = 128
MIN_CONTEXT_CHARACTERS, DEFAULT_CONTEXT_CHARACTERS = 1_000, 200_000
MAX_CONTEXT_CHARACTERS = 4_000_000


class AgentQuerySet(models.QuerySet["Agent"]):
    """Agents with what the API shows of their tools."""

    def with_tools(self) -> "AgentQuerySet":
        """Add `tools_json`, the tools as the API shows them."""
        return self.annotate(tools_json=tools_json())


class Agent(TenantOwned):
    """An agent of one tenant. Its name is unique within the tenant (compared by code point)."""

    name = models.CharField(max_length=100)
    role = models.CharField(max_length=100)
    description = models.CharField(max_length=1000)
    # The name of a language model instead of a foreign key: the row can be renamed or deleted.
    model = models.CharField(  # noqa: DJ001  null means "no default model"
        max_length=100,
        null=True,
        blank=True,
        help_text="Default model, used when a run does not specify one.",
    )
    max_steps = models.PositiveSmallIntegerField(
        default=8,
        db_default=8,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_STEPS)],
        help_text="Maximum model calls per run.",
    )
    max_tool_calls = models.PositiveSmallIntegerField(
        default=100,
        db_default=100,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_TOOL_CALLS)],
        help_text="Maximum tool calls per run.",
    )
    # `temperature`, `max_output_tokens`. Omitted settings use the model's defaults.
    settings = models.JSONField(default=dict, db_default={}, blank=True)
    output_schema = OrderedJSONField(
        null=True,
        blank=True,
        help_text="JSON Schema of the response. Leave blank for plain text.",
    )
    max_context_characters = models.PositiveIntegerField(
        default=DEFAULT_CONTEXT_CHARACTERS,
        db_default=DEFAULT_CONTEXT_CHARACTERS,
        validators=[
            MinValueValidator(MIN_CONTEXT_CHARACTERS),
            MaxValueValidator(MAX_CONTEXT_CHARACTERS),
        ],
        help_text="Maximum characters of the earlier messages that a run continues. "
        "The oldest exchanges are left out.",
    )
    # Incremented by database triggers (agents/migrations/0002) whenever the agent, its tools or its
    # list of tools changes. A cached agent is current as long as its version is unchanged.
    version = models.PositiveBigIntegerField(db_default=1, editable=False)
    tools = models.ManyToManyField(Tool, through="AgentTool", related_name="agents", blank=True)

    objects = AgentQuerySet.as_manager()

    class Meta:
        ordering = ("created_at", "id")
        constraints = [
            models.UniqueConstraint(fields=("tenant", "name"), name="agent_name_unique"),
            models.CheckConstraint(
                condition=models.Q(max_steps__range=(1, MAX_STEPS)), name="agent_max_steps_in_range"
            ),
            models.CheckConstraint(
                condition=models.Q(max_tool_calls__range=(1, MAX_TOOL_CALLS)),
                name="agent_max_tool_calls_in_range",
            ),
        ]
        indexes = [
            models.Index(fields=("tenant", "created_at", "id"), name="agent_by_age"),
            # For the operator who deletes a language model.
            models.Index(
                fields=("model",), condition=models.Q(model__isnull=False), name="agent_by_model"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def tools_by_name(self) -> list[Tool]:
        """The agent's tools, ordered by the code points of their names (no database collation)."""
        return sorted(self.tools.all(), key=lambda tool: tool.name)


class AgentTool(models.Model):
    """One tool of one agent. Its foreign key prevents the deletion of a tool that is in use."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE)
    tool = models.ForeignKey(Tool, on_delete=models.PROTECT)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("agent", "tool"), name="agent_tool_once")]
        verbose_name = "tool of an agent"
        verbose_name_plural = "tools of an agent"

    def __str__(self) -> str:
        return f"{self.agent} uses {self.tool}"


def tools_json() -> models.Func:
    """The tools of an agent as a JSON array of id, name and description, ordered by name (code points).

    One query reads agents with their tools. A prefetch takes twice the CPU time.
    """
    tools = (
        AgentTool.objects.filter(agent=models.OuterRef("pk"))
        .order_by(Collate("tool__name", "C"))
        .values(row=JSONObject(id="tool_id", name="tool__name", description="tool__description"))
    )
    return models.Func(ArraySubquery(tools), function="to_jsonb", output_field=JSONText())


# The hosts of models without a base URL, by provider.
PROVIDER_HOSTS = {"openai": "api.openai.com", "anthropic": "api.anthropic.com"}


def provider_names() -> list[tuple[str, str]]:
    """The choices for `LanguageModel.provider`: the providers in the settings."""
    return [(name, name) for name in settings.MODEL_PROVIDERS]


class LanguageModel(models.Model):
    """A model name for all tenants, and the provider that serves it. Operators manage these rows.

    Other tables store the name instead of a foreign key: an execution records the requested model, and
    the row can change later. All processes apply a change within two seconds
    (`agents.language_models`).
    """

    name = models.CharField(max_length=100, unique=True, help_text="The name that tenants use.")
    provider = models.CharField(max_length=50, choices=provider_names)
    upstream_name = models.CharField(
        max_length=200,
        blank=True,
        help_text="Model ID at the provider. Defaults to the name above.",
    )
    base_url = models.CharField(
        max_length=500,
        blank=True,
        validators=[address],
        verbose_name="base URL",
        help_text="Base URL of an API that is compatible with the provider's, usually ending in /v1. "
        "Leave blank for api.openai.com or api.anthropic.com.",
    )
    # The encrypted credential.
    credential_token = TokenField(blank=True, editable=False)
    is_active = models.BooleanField(
        default=True, help_text="When off, tenants cannot use this model."
    )
    input_price_per_million = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="USD per 1 million tokens. If blank, run costs are not calculated.",
    )
    output_price_per_million = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="USD per 1 million tokens. If blank, run costs are not calculated.",
    )
    timeout_seconds = models.PositiveSmallIntegerField(
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(600)],
        help_text="Timeout per request to the provider. "
        "The whole run is limited by RUN_TIMEOUT_SECONDS.",
    )
    max_retries = models.PositiveSmallIntegerField(
        default=2,
        validators=[MaxValueValidator(10)],
        help_text="Retries after connection errors, timeouts, and HTTP 408, 409, 429 or 5xx.",
    )
    max_output_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Maximum tokens per response. Agents can set a lower limit. "
        "Leave blank for the provider's default.",
    )

    class Meta:
        # The order in which the API lists the models.
        ordering = ("pk",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(timeout_seconds__range=(1, 600)),
                name="language_model_timeout_in_range",
            ),
            models.CheckConstraint(
                condition=models.Q(max_retries__lte=10), name="language_model_max_retries_in_range"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Raises ValidationError for invisible characters in a name, and for a model that would be called
        at OpenAI or Anthropic without a credential.
        """
        for field in ("name", "upstream_name"):
            value = getattr(self, field)
            if not value.isprintable() or value != value.strip():
                text = "Enter printable characters, without leading or trailing spaces."
                raise ValidationError({field: text})
        host = PROVIDER_HOSTS.get(self.provider)
        if host and not self.base_url and not self.credential_token:
            raise ValidationError(
                "Enter a base URL or a credential. Without a base URL, requests are sent to "
                f"{host}, which requires a credential."
            )
