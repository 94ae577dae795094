"""The interface of a kind of callable tool, and its errors."""

from collections.abc import Mapping
from typing import Any, Protocol

from tools.redaction import SecretRedactor


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
        config: Mapping[str, Any],
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
