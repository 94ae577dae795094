"""The interface of a kind of callable tool, and its errors."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from tools.redaction import SecretRedactor

# The error of a call whose tool has another definition on its server than the one that was imported.
TOOL_CHANGED = "TOOL_CHANGED"


@dataclass(frozen=True, slots=True)
class CallableTool:
    """A tool as a call needs it. `secrets_token` is encrypted until the call."""

    id: UUID
    name: str
    description: str
    parameters: Mapping[str, Any]
    kind: str
    config: Mapping[str, Any]
    secrets_token: str = field(repr=False)
    idempotent: bool = False
    needs_approval: bool = False
    approval_timeout_seconds: int = 0
    # The definition that its server must still have, and whether it is known that it has another one.
    definition_hash: str = ""
    is_changed: bool = False

    @classmethod
    def of(cls, tool: Any) -> "CallableTool":
        """Return a row as a call needs it."""
        return cls(
            id=tool.id,
            name=tool.name,
            description=tool.description,
            parameters=tool.parameters,
            kind=tool.kind,
            config=tool.config or {},
            secrets_token=tool.secrets_token,
            idempotent=tool.idempotent,
            needs_approval=tool.approval == tool.Approval.ALWAYS,
            approval_timeout_seconds=tool.approval_timeout_seconds,
            definition_hash=tool.definition_hash,
            is_changed=tool.state == tool.State.CHANGED,
        )


class Invoker(Protocol):
    """The functions that the module of a kind defines."""

    def validate_config(self, config: object) -> dict[str, Any]:
        """Return the configuration with defaults filled in. Raises ConfigError."""

    def cross_field_errors(
        self, config: Mapping[str, Any], parameters: Mapping[str, Any], secret_names: list[str]
    ) -> list[str]:
        """Return the contradictions between configuration, parameters and secrets, as sentences."""

    def call(
        self,
        tool: CallableTool,
        arguments: Mapping[str, Any],
        secrets: Mapping[str, str],
        *,
        redactor: SecretRedactor,
        deadline: float,
        idempotency_key: str,
    ) -> str:
        """Call the tool and return its result. Raises ToolError. Neither text contains a secret.

        `idempotency_key` is the same if this call is repeated. It may be empty.
        """


class ConfigError(ValueError):
    """A configuration is not valid. `problems` are sentences."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(" ".join(problems))
        self.problems = problems


class ToolError(Exception):
    """A call failed. `code` is for programs, `text` a sentence for the model."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(code)
        self.code = code
        self.text = text
