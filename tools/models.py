"""A tool: what an agent may use."""

from typing import Any

import orjson
from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import ValidationError
from django.db import models

from map_project.api.secrets import TokenField
from map_project.tenants.models import TenantOwned


class OrderedJSONField(models.JSONField):
    """JSON kept as text: `jsonb` would sort the keys of an object, and a model reads the properties of
    a schema in the order in which they stand.
    """

    def db_type(self, connection: Any) -> str:
        return "text"

    def get_db_prep_value(self, value: Any, connection: Any, prepared: bool = False) -> Any:
        return None if value is None else orjson.dumps(value).decode()

    def from_db_value(self, value: Any, expression: Any, connection: Any) -> Any:
        return None if value is None else orjson.loads(value)


def no_parameters() -> dict[str, Any]:
    """The schema of a tool that takes any arguments."""
    return {"type": "object", "properties": {}}


class Tool(TenantOwned):
    """A tool of one tenant; its name is unique there, by code point."""

    class Kind(models.TextChoices):
        """How it is called; `tools.invokers` has a file for each but the first."""

        DECLARED = "declared"  # the model is told of it, nothing is called
        HTTP = "http"

    name = models.CharField(max_length=100)
    description = models.CharField(max_length=1000)
    kind = models.CharField(
        max_length=20, choices=Kind, default=Kind.DECLARED, db_default=Kind.DECLARED
    )
    # The JSON Schema of its arguments.
    parameters = OrderedJSONField(default=no_parameters, db_default=no_parameters())
    # What its kind wants to know; in the API it bears the kind's name. None where it is declared.
    config = OrderedJSONField(null=True, blank=True, default=None)
    # A token of `map_project.api.secrets` that holds an object, names and values; "" for none.
    secrets_token = TokenField(blank=True, default="", db_default="", editable=False)
    # Their names, ordered.
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
        """What the kind `http` wants to know."""
        config: dict[str, Any] | None = self.config if self.kind == self.Kind.HTTP else None
        return config

    def clean(self) -> None:
        """For the admin's form: what the API checks. Puts what was left out of `config` in its place."""
        from tools.definitions import problems_of

        super().clean()
        problems = problems_of(self)
        if problems:
            # Not by field: a form need not have them all.
            told = [f"{name}: {text}" for name, texts in problems.items() for text in texts]
            raise ValidationError(told)
