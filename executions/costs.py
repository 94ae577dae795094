"""The costs of model calls."""

from collections.abc import Iterable
from decimal import Decimal

import orjson

from agents.language_models import KnownModel
from executions.providers import ModelRequest
from executions.steps import Step

_TOKENS_PER_PRICE = 1_000_000
# Of a request without a maximum. Most responses are shorter, and the providers' own maxima are not known.
ASSUMED_OUTPUT_TOKENS = 16_384
# What a provider adds to the messages, for example its own instructions for tools.
ADDED_INPUT_TOKENS = 1_000


def has_prices(model: KnownModel) -> bool:
    """Return whether the cost of a call can be known."""
    return None not in (model.input_price_per_million, model.output_price_per_million)


def cost_usd(
    model: KnownModel, input_tokens: int | None, output_tokens: int | None
) -> Decimal | None:
    """Return the cost at the model's prices, or None if a count or a price is unknown."""
    input_price, output_price = model.input_price_per_million, model.output_price_per_million
    if input_tokens is None or output_tokens is None or input_price is None or output_price is None:
        return None
    total = input_tokens * input_price + output_tokens * output_price
    return round(total / _TOKENS_PER_PRICE, 9)


def total_usd(model: KnownModel, steps: Iterable[Step]) -> Decimal:
    """Return the cost of the model calls among the steps. Unknown ones are 0."""
    calls = (step for step in steps if step.kind == "model")
    costs = (cost_usd(model, call.input_tokens, call.output_tokens) for call in calls)
    return sum((cost for cost in costs if cost is not None), Decimal(0))


def estimated_cost_usd(request: ModelRequest) -> Decimal:
    """Return the most that a call should cost. A token has at least one byte of the text."""
    parts = [request.system_prompt, request.messages, request.tools, request.output_schema]
    input_tokens = len(orjson.dumps(parts, default=str)) + ADDED_INPUT_TOKENS
    output_tokens = request.max_output_tokens or ASSUMED_OUTPUT_TOKENS
    return cost_usd(request.model, input_tokens, output_tokens) or Decimal(0)
