"""An agent and the tools it is composed of; the models that agents are run on."""

from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from map_project.tenants.models import TenantOwned
from tools.models import Tool

MAX_STEPS = 50


class AgentQuerySet(models.QuerySet["Agent"]):
    """Agents with what the API shows of their tools."""

    def with_tools(self) -> "AgentQuerySet":
        """Prefetch the tools: one query, whatever the number of agents."""
        tools = Tool.objects.only("id", "name", "description").order_by()
        return self.prefetch_related(models.Prefetch("tools", tools))


class Agent(TenantOwned):
    """An agent of one tenant; its name is unique there, by code point."""

    name = models.CharField(max_length=100)
    role = models.CharField(max_length=100)
    description = models.CharField(max_length=1000)
    # A name, and no foreign key: it may lead elsewhere tomorrow, or nowhere.
    model = models.CharField(  # noqa: DJ001  "" is a name, if nobody's; null is none
        max_length=100,
        null=True,
        blank=True,
        help_text="What it is run on where the call names no model.",
    )
    max_steps = models.PositiveSmallIntegerField(
        default=8,
        db_default=8,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_STEPS)],
        help_text="How many times the model is asked in one run, at most.",
    )
    # `temperature`, `max_output_tokens`; what is left out is left to the model.
    settings = models.JSONField(default=dict, db_default={}, blank=True)
    # Counted up by triggers of the database (agents/migrations/0002) at every change of the agent, of
    # its tools, and of which they are, whoever makes it: what was read at a version still holds
    # while the version does.
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
        ]
        indexes = [models.Index(fields=("tenant", "created_at", "id"), name="agent_by_age")]

    def __str__(self) -> str:
        return self.name

    def tools_by_name(self) -> list[Tool]:
        """Its tools, ordered by the code points of their names, whatever the database's collation."""
        return sorted(self.tools.all(), key=lambda tool: tool.name)


class AgentTool(models.Model):
    """One tool of one agent. The database refuses to delete a tool that stands here."""

    agent = models.ForeignKey(Agent, on_delete=models.CASCADE)
    tool = models.ForeignKey(Tool, on_delete=models.PROTECT)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("agent", "tool"), name="agent_tool_once")]
        verbose_name = "tool of an agent"
        verbose_name_plural = "tools of an agent"

    def __str__(self) -> str:
        return f"{self.agent} uses {self.tool}"


def provider_names() -> list[tuple[str, str]]:
    """The providers of this release, as the choices of a form."""
    return [(name, name) for name in settings.MODEL_PROVIDERS]


def address(value: str) -> None:
    """Raises ValidationError for what is no http or https address. Unlike Django's own, it takes any
    name for a host: in the operator's network one may be `ollama`.
    """
    try:
        parts = urlsplit(value)
        found = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        found = None
    if not found or not value.isprintable() or " " in value:
        raise ValidationError("An address begins with http:// or https://, and has a host.")


class LanguageModel(models.Model):
    """A model name that tenants use, and what serves it: the operator's, for all tenants.

    Other rows hold the *name*, never a foreign key: a record of a run says what was asked for, and
    a name may lead elsewhere tomorrow. Every process heeds a change within two seconds
    (`agents.language_models`).
    """

    name = models.CharField(max_length=100, unique=True, help_text="What tenants call it.")
    provider = models.CharField(max_length=50, choices=provider_names)
    upstream_name = models.CharField(
        max_length=200,
        blank=True,
        help_text="What the provider calls it; empty means the name itself.",
    )
    base_url = models.CharField(
        max_length=500,
        blank=True,
        validators=[address],
        verbose_name="base URL",
        help_text="Of an OpenAI-compatible API, usually ending in /v1; empty means OpenAI's own.",
    )
    # A token of `map_project.api.secrets`, never the credential itself.
    credential_token = models.TextField(blank=True, editable=False)
    is_active = models.BooleanField(default=True, help_text="Off: no tenant is offered it.")
    input_price_per_million = models.DecimalField(
        max_digits=12,
        decimal_places=6,
        null=True,
        blank=True,
        validators=[MinValueValidator(0)],
        help_text="USD for a million tokens; empty means unknown, and so is the cost of its runs.",
    )
    output_price_per_million = models.DecimalField(
        max_digits=12, decimal_places=6, null=True, blank=True, validators=[MinValueValidator(0)]
    )
    timeout_seconds = models.PositiveSmallIntegerField(
        default=60,
        validators=[MinValueValidator(1), MaxValueValidator(600)],
        help_text="Of one attempt to get an answer; a run has its own bound, RUN_TIMEOUT_SECONDS.",
    )
    max_retries = models.PositiveSmallIntegerField(
        default=2,
        validators=[MaxValueValidator(10)],
        help_text="Further attempts after a lost connection, a time-out, 408, 409, 429 and 5xx.",
    )
    max_output_tokens = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text="Of one answer; an agent may ask for fewer. Empty leaves it to the provider.",
    )

    class Meta:
        # The order in which tenants see them.
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
