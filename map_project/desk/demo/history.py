"""A month of demo runs: more by day than by night, one incident, fast and slow models."""

import json
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import accumulate

from agents.models import Agent, AgentTool
from executions.models import Execution, Step
from map_project.api import audit
from map_project.desk.demo.customers import CUSTOMERS, TOOLS, Customer, DemoAgent
from map_project.tenants.models import Tenant
from tools.models import Tool

MONTH = timedelta(days=30)
BATCH = 2_000

# Median latency in milliseconds, by model.
_LATENCY_MS = {
    "gpt-4o": 900,
    "gpt-4": 2_600,
    "gpt-3.5-turbo": 520,
    "claude-3-opus": 3_400,
    "claude-3-sonnet": 1_300,
}
_INCIDENT_BEGAN, _INCIDENT_ENDED = timedelta(hours=9), timedelta(hours=6, minutes=30)
_FAILURES = (("MODEL_ERROR", 5), ("MODEL_TIMEOUT", 3), ("INTERNAL_ERROR", 1))
_ERROR_REASONS = {"MODEL_ERROR": "server_error", "MODEL_TIMEOUT": "model_timeout"}
_PROVIDER_ERRORS = {"MODEL_ERROR": {"status": 503}, "MODEL_TIMEOUT": {"status": None}}
_PROVIDER_MESSAGES = {"MODEL_ERROR": "The engine is currently overloaded. Please try again later."}
# USD per 1 million input and output tokens.
_PRICES = {
    "gpt-4o": (2.5, 10),
    "gpt-4": (30, 60),
    "gpt-3.5-turbo": (0.5, 1.5),
    "claude-3-opus": (15, 75),
    "claude-3-sonnet": (3, 15),
}
_TOOL_ERRORS = (("timeout", 3), ("http_503", 2), ("bad_arguments", 1))
_TOOL_ERROR_SHARE = 0.04
# Weight of each hour of the customer's local day.
_HOUR_WEIGHTS = (1, 1, 1, 1, 1, 2, 5, 12, 22, 27, 28, 25, 18, 24, 27, 25, 20, 13, 8, 6, 4, 3, 2, 1)
_WEEKEND_FACTOR = 0.25
_STOP_REASONS = {"succeeded": "completed", "incomplete": "max_steps"}


@dataclass(frozen=True, slots=True)
class _DemoTenant:
    """A customer with its tenant and its agents in the database."""

    customer: Customer
    tenant: Tenant
    agents: Sequence[tuple[DemoAgent, Agent]]


def create_runs(number: int, *, now: datetime, progress: Callable[[int], None]) -> None:
    """Insert `number` runs of the 30 days before `now`, oldest first, and missing customers.

    Calls `progress` with the number of inserted runs after every batch.
    """
    rng = random.Random(number)  # noqa: S311  demo data, not a secret
    demo_tenants = [_get_or_create_tenant(customer) for customer in CUSTOMERS]
    starts = sorted(_starts(rng, demo_tenants, number, now), key=lambda item: item[0])
    for offset in range(0, number, BATCH):
        batch = starts[offset : offset + BATCH]
        runs = Execution.objects.bulk_create([_run(rng, *item, now) for item in batch])
        if offset + 2 * BATCH > number:
            _create_steps(rng, runs)
        progress(offset + len(batch))


def _get_or_create_tenant(customer: Customer) -> _DemoTenant:
    quota = {"rate_limit_requests": customer.rate_limit_requests}
    tenant, created = Tenant.objects.get_or_create(name=customer.name, defaults=quota)
    if created:
        audit.record_added(tenant)
    agents = [(demo, _get_or_create_agent(tenant, demo)) for demo in customer.agents]
    return _DemoTenant(customer, tenant, agents)


def _get_or_create_agent(tenant: Tenant, demo: DemoAgent) -> Agent:
    defaults = {"role": demo.role, "description": demo.description}
    agent, created = Agent.objects.get_or_create(tenant=tenant, name=demo.name, defaults=defaults)
    if created:
        for name in demo.tools:
            description = {"description": TOOLS[name]}
            tool, is_new = Tool.objects.get_or_create(
                tenant=tenant, name=name, defaults=description
            )
            if is_new:
                audit.record_added(tool)
            AgentTool.objects.get_or_create(agent=agent, tool=tool)
        audit.record_added(agent)
    return agent


def _starts(
    rng: random.Random, demo_tenants: Sequence[_DemoTenant], number: int, now: datetime
) -> Iterator[tuple[datetime, _DemoTenant]]:
    """The time and the tenant of each run."""
    chosen = rng.choices(demo_tenants, [item.customer.share for item in demo_tenants], k=number)
    hours = {item.customer.name: _weighted_hours(item.customer, now) for item in demo_tenants}
    for item in chosen:
        starts, weights = hours[item.customer.name]
        start = rng.choices(starts, cum_weights=weights)[0]
        yield start + timedelta(seconds=rng.random() * 3600), item


def _weighted_hours(customer: Customer, now: datetime) -> tuple[list[datetime], list[float]]:
    """The hours of the month, and their cumulative weights."""
    starts = [
        now - timedelta(hours=back) for back in range(int(MONTH.total_seconds()) // 3600, 0, -1)
    ]
    weights = []
    for age, start in enumerate(starts):
        local = start + timedelta(hours=customer.zone)
        growth = 1 + 0.5 * age / len(starts)
        day_factor = _WEEKEND_FACTOR if local.weekday() > 4 else 1
        weights.append(_HOUR_WEIGHTS[local.hour] * day_factor * growth)
    return starts, list(accumulate(weights))


def _run(rng: random.Random, at: datetime, item: _DemoTenant, now: datetime) -> Execution:
    demo, agent = rng.choice(item.agents)
    prompt, response = rng.choice(demo.conversations)
    system = f"You are {demo.name}, a {demo.role}. {demo.description}"
    words = {"n": rng.randint(12, 4_800), "x": rng.choice(item.customer.subjects)}
    model = rng.choice(item.customer.models)
    incident = _INCIDENT_ENDED < now - at < _INCIDENT_BEGAN
    status, code = _outcome(rng, failing=0.22 if incident else 0.018)
    input_tokens, output_tokens = (len(system) + len(prompt)) // 4 + 160, len(response) // 4 + 40
    if status == "failed":
        response, output_tokens = "", 0
    per_input, per_output = _PRICES[model]
    return Execution(
        id=_uuid7(rng, at),
        tenant=item.tenant,
        agent_id=agent.pk,
        agent_name=agent.name,
        prompt=prompt.format(**words),
        model=model,
        response=response.format(**words),
        status=status,
        stop_reason=_STOP_REASONS.get(status) or code.lower(),
        error_code=code,
        error_reason=_ERROR_REASONS.get(code, ""),
        provider_error=_PROVIDER_ERRORS.get(code),
        provider_message=_PROVIDER_MESSAGES.get(code, ""),
        provider="openai",
        system_prompt=system,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=round(
            Decimal((input_tokens * per_input + output_tokens * per_output) / 1_000_000), 9
        ),
        latency_ms=_latency(rng, model, code, slow=incident),
        request_id=f"{rng.getrandbits(128):032x}",
        created_at=at,
    )


def _create_steps(rng: random.Random, runs: Sequence[Execution]) -> None:
    """Insert the steps of each run that succeeded: a model call, a tool call, a model call."""
    agent_tools = AgentTool.objects.filter(agent__in={run.agent_id for run in runs})
    # One tool of each agent.
    tools = dict(agent_tools.order_by("-tool__name").values_list("agent", "tool__name"))
    Step.objects.bulk_create(
        step
        for run in runs
        if run.status == Execution.Status.SUCCEEDED and run.agent_id in tools
        for step in _steps(rng, run, tools[run.agent_id])
    )


def _steps(rng: random.Random, run: Execution, tool: str) -> Iterator[Step]:
    call, result = json.dumps({"query": run.prompt[:60]}), json.dumps({"results": 3})
    third, error = run.latency_ms // 3, ""
    if rng.random() < _TOOL_ERROR_SHARE:
        weights = [weight for _, weight in _TOOL_ERRORS]
        error = rng.choices(_TOOL_ERRORS, weights)[0][0]
        result = f"The call failed: {error}."
    messages = json.dumps([{"role": "user", "content": run.prompt}])
    results = json.dumps([{"role": "tool", "content": result, "tool_call_id": "call_0"}])
    steps = (
        (Step.Kind.MODEL, run.model, messages, "", 180, 24),
        (Step.Kind.TOOL, tool, call, result, None, None),
        (Step.Kind.MODEL, run.model, results, run.response, 240, len(run.response) // 4),
    )
    for position, (kind, name, input_text, output, tokens_in, tokens_out) in enumerate(steps):
        yield Step(
            execution=run,
            position=position,
            kind=kind,
            name=name,
            input=input_text,
            output=output,
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            latency_ms=third,
            error=error if kind == Step.Kind.TOOL else "",
            created_at=run.created_at,
            tool_calls=[{"id": "call_0", "name": tool, "arguments": call}] if position == 0 else [],
        )


def _outcome(rng: random.Random, *, failing: float) -> tuple[str, str]:
    """Status and error code of a run; `failing` is the share of failures."""
    drawn = rng.random()
    if drawn < failing:
        weights = [weight for _, weight in _FAILURES]
        return "failed", rng.choices(_FAILURES, weights)[0][0]
    if drawn < failing + 0.008:
        return "incomplete", ""
    return Execution.Status.SUCCEEDED.value, ""


def _latency(rng: random.Random, model: str, code: str, *, slow: bool) -> int:
    if code == "MODEL_TIMEOUT":
        return 60_000 + rng.randint(0, 400)
    return round(_LATENCY_MS[model] * rng.lognormvariate(0, 0.55) * (2.4 if slow else 1))


def _uuid7(rng: random.Random, at: datetime) -> uuid.UUID:
    """A UUIDv7 with this time."""
    milliseconds = int(at.timestamp() * 1000)
    drawn = rng.getrandbits(74)
    high = milliseconds << 16 | 0x7000 | drawn >> 62
    return uuid.UUID(int=high << 64 | 0b10 << 62 | drawn & (1 << 62) - 1)
