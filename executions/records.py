"""The record of a run that leaves the process, written as it goes.

While a model or a tool is waited for, the run holds no database connection (`map_project.serving.turns`).
"""

import uuid
from dataclasses import dataclass, field
from decimal import Decimal

from agents.language_models import KnownModel
from executions.loop import Outcome
from executions.loop import Step as LoopStep
from executions.models import Execution, Step

_MAX_ERROR = 100
_MILLION = 1_000_000


@dataclass(slots=True)
class Record:
    """An execution that is `running`, until `end` or `fail`."""

    execution_id: uuid.UUID
    model: KnownModel
    _steps: int = field(default=0)

    def add(self, step: LoopStep) -> None:
        """Puts a step on record. Raises django.db.DatabaseError."""
        Step.objects.create(
            execution_id=self.execution_id,
            position=self._steps,
            kind=step.kind,
            name=step.name,
            input=step.input,
            output=step.output,
            input_tokens=step.input_tokens,
            output_tokens=step.output_tokens,
            latency_ms=step.latency_ms,
            error=step.error[:_MAX_ERROR],
        )
        self._steps += 1

    def end(self, outcome: Outcome, *, latency_ms: int) -> bool:
        """Puts on record how the run ended; False where somebody took it for lost meanwhile. Raises
        django.db.DatabaseError.
        """
        return self._close(
            status=outcome.status,
            stop_reason=outcome.stop_reason,
            error_code=outcome.error.error_code if outcome.error else "",
            response=outcome.response,
            input_tokens=outcome.input_tokens,
            output_tokens=outcome.output_tokens,
            cost_usd=cost_usd(self.model, outcome.input_tokens, outcome.output_tokens),
            latency_ms=latency_ms,
        )

    def fail(self, *, latency_ms: int) -> bool:
        """Puts a fault of ours on record. Raises django.db.DatabaseError."""
        return self._close(
            status=Execution.Status.FAILED,
            stop_reason="internal_error",
            error_code="INTERNAL_ERROR",
            latency_ms=latency_ms,
        )

    def _close(self, **values: object) -> bool:
        running = Execution.objects.filter(pk=self.execution_id, status=Execution.Status.RUNNING)
        return running.update(**values) == 1


def cost_usd(
    model: KnownModel, input_tokens: int | None, output_tokens: int | None
) -> Decimal | None:
    """What the tokens cost at the model's prices; None where any of these is not known."""
    prices = model.input_price_per_million, model.output_price_per_million
    if input_tokens is None or output_tokens is None or None in prices:
        return None
    total = sum(
        count * price
        for count, price in zip((input_tokens, output_tokens), prices, strict=True)
        if price is not None
    )
    return round(Decimal(total) / _MILLION, 9)
