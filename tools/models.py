"""Tools, which agents use."""

from typing import Any

import orjson
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models

from map_project.api.secrets import TokenField
from map_project.tenants.models import TenantOwned

DEFAULT_APPROVAL_TIMEOUT_SECONDS = 24 * 3600


class OrderedJSONField(models.JSONField):
    """JSON stored as text: `jsonb` sorts keys, but models depend on the order of a schema's properties."""

    def db_type(self, connection: Any) -> str:
        return "text"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return None if value is None else orjson.dumps(value).decode()

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else orjson.loads(value)


def no_parameters() -> dict[str, Any]:
    """The default schema: any arguments."""
    return {"type": "object", "properties": {}}


class Tool(TenantOwned):
    """A tool of one tenant. Its name is unique within the tenant (compared by code point)."""

    class Kind(models.TextChoices):
        """How the tool is called. `tools.invokers` has a module for each kind except `declared`."""

        DECLARED = "declared"  # the model knows the tool but cannot call it
        HTTP = "http"
        MCP = "mcp"

    class State(models.TextChoices):
        """Whether the tool's definition on its MCP server is known to differ from the imported one."""

        READY = "ready"
        CHANGED = "changed"

    class Approval(models.TextChoices):
        """Whether a person has to approve each call."""

        NEVER = "never"
        ALWAYS = "always"

    name = models.CharField(max_length=100)
    description = models.CharField(max_length=1000)
    kind = models.CharField(
        max_length=20, choices=Kind, default=Kind.DECLARED, db_default=Kind.DECLARED
    )
    # The JSON Schema of the arguments.
    parameters = OrderedJSONField(default=no_parameters, db_default=no_parameters())
    # The configuration of the kind. The API field has the name of the kind. None for declared tools.
    config = OrderedJSONField(null=True, blank=True, default=None)
    # The hash of the definition that was imported from an MCP server, or "".
    definition_hash = models.CharField(
        max_length=64, blank=True, default="", db_default="", editable=False
    )
    state = models.CharField(
        max_length=20, choices=State, default=State.READY, db_default=State.READY, editable=False
    )
    # Whether a call may be repeated if it is unknown whether it was made.
    idempotent = models.BooleanField(default=False, db_default=False)
    approval = models.CharField(
        max_length=10, choices=Approval, default=Approval.NEVER, db_default=Approval.NEVER
    )
    # How long a call waits for its approval.
    approval_timeout_seconds = models.PositiveIntegerField(
        default=DEFAULT_APPROVAL_TIMEOUT_SECONDS, db_default=DEFAULT_APPROVAL_TIMEOUT_SECONDS
    )
    # The names and values of the secrets, encrypted by `map_project.api.secrets`. "" if there are none.
    secrets_token = TokenField(blank=True, default="", db_default="", editable=False)
    # The sorted names of the secrets.
    secret_names = ArrayField(
        models.CharField(max_length=64), blank=True, default=list, db_default=[], editable=False
    )

    class Meta:
        ordering = ("created_at", "id")
        constraints = [models.UniqueConstraint(fields=("tenant", "name"), name="tool_name_unique")]
        indexes = [models.Index(fields=("tenant", "created_at", "id"), name="tool_by_age")]

    def __str__(self) -> str:
        return self.name

    @property
    def http(self) -> dict[str, Any] | None:
        """The configuration of the kind `http`."""
        return self._config_of(self.Kind.HTTP)

    @property
    def mcp(self) -> dict[str, Any] | None:
        """The configuration of the kind `mcp`."""
        return self._config_of(self.Kind.MCP)

    def _config_of(self, kind: str) -> dict[str, Any] | None:
        config: dict[str, Any] | None = self.config if self.kind == kind else None
        return config

    def clean(self) -> None:
        """Validate as the API does, for the admin. Fills in the defaults of `config`."""
        from tools.definitions import tool_errors

        super().clean()
        if errors := tool_errors(self):
            # Not by field, because a form does not have all fields.
            messages = [f"{name}: {text}" for name, texts in errors.items() for text in texts]
            raise ValidationError(messages)
