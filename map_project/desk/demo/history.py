"""Runs of a month: busy days and quiet nights, a bad afternoon, fast models and slow ones."""

import json
import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from agents.models import Agent, AgentTool
from executions.models import Execution, Step
from map_project.desk.demo.customers import CUSTOMERS, TOOLS, Customer, Persona
from map_project.tenants.models import Tenant
from tools.models import Tool

MONTH = timedelta(days=30)
BATCH = 2_000

# Milliseconds of half the runs, by model.
_LATENCY_MS = {
    "gpt-4o": 900,
    "gpt-4": 2_600,
    "gpt-3.5-turbo": 520,
    "claude-3-opus": 3_400,
    "claude-3-sonnet": 1_300,
}
_INCIDENT_BEGAN, _INCIDENT_ENDED = timedelta(hours=9), timedelta(hours=6, minutes=30)
_FAILURES = (("MODEL_ERROR", 5), ("MODEL_TIMEOUT", 3), ("INTERNAL_ERROR", 1))
# USD for a million tokens, in and out.
_PRICES = {
    "gpt-4o": (2.5, 10),
    "gpt-4": (30, 60),
    "gpt-3.5-turbo": (0.5, 1.5),
    "claude-3-opus": (15, 75),
    "claude-3-sonnet": (3, 15),
}
# So many of the last runs have their steps as well.
_WITH_STEPS = 300
# How busy each hour of a customer's own day is.
_HOURS = (1, 1, 1, 1, 1, 2, 5, 12, 22, 27, 28, 25, 18, 24, 27, 25, 20, 13, 8, 6, 4, 3, 2, 1)
_WEEKEND = 0.25
_STOPPED = {"succeeded": "completed", "incomplete": "max_steps"}


@dataclass(frozen=True, slots=True)
class _Cast:
    """A customer with its tenant and its agents, as they stand in the database."""

    customer: Customer
    tenant: Tenant
    agents: Sequence[tuple[Persona, Agent]]


def write(number: int, *, now: datetime, progress: Callable[[int], None]) -> None:
    """Writes so many runs of the 30 days before `now`, the oldest first; customers are made as needed.

    `progress` is told how many are written, with every batch.
    """
    chance = random.Random(number)  # noqa: S311  a story, not a secret
    casts = [_cast(customer) for customer in CUSTOMERS]
    moments = sorted(_moments(chance, casts, number, now), key=lambda moment: moment[0])
    for start in range(0, number, BATCH):
        part = moments[start : start + BATCH]
        runs = Execution.objects.bulk_create([_run(chance, *moment, now) for moment in part])
        if start + BATCH >= number:
            _tell_steps(runs[-_WITH_STEPS:])
        progress(start + len(part))


def _cast(customer: Customer) -> _Cast:
    quota = {"rate_limit_requests": customer.rate_limit_requests}
    tenant, _ = Tenant.objects.get_or_create(name=customer.name, defaults=quota)
    return _Cast(
        customer, tenant, [(persona, _agent(tenant, persona)) for persona in customer.agents]
    )


def _agent(tenant: Tenant, persona: Persona) -> Agent:
    about = {"role": persona.role, "description": persona.description}
    agent, made = Agent.objects.get_or_create(tenant=tenant, name=persona.name, defaults=about)
    if made:
        for name in persona.tools:
            told = {"description": TOOLS[name]}
            tool, _ = Tool.objects.get_or_create(tenant=tenant, name=name, defaults=told)
            AgentTool.objects.get_or_create(agent=agent, tool=tool)
    return agent


def _moments(
    chance: random.Random, casts: Sequence[_Cast], number: int, now: datetime
) -> Iterator[tuple[datetime, _Cast]]:
    """When each run was, and whose."""
    chosen = chance.choices(casts, [cast.customer.share for cast in casts], k=number)
    hours = {cast.customer.name: _busy_hours(cast.customer, now) for cast in casts}
    for cast in chosen:
        begins, weights = hours[cast.customer.name]
        begin = chance.choices(begins, cum_weights=weights)[0]
        yield begin + timedelta(seconds=chance.random() * 3600), cast


def _busy_hours(customer: Customer, now: datetime) -> tuple[list[datetime], list[float]]:
    """The hours of the month, and how busy the customer is up to each, added up."""
    begins = [
        now - timedelta(hours=back) for back in range(int(MONTH.total_seconds()) // 3600, 0, -1)
    ]
    sums, total = [], 0.0
    for age, begin in enumerate(begins):
        local = begin + timedelta(hours=customer.zone)
        growth = 1 + 0.5 * age / len(begins)
        total += _HOURS[local.hour] * (_WEEKEND if local.weekday() > 4 else 1) * growth
        sums.append(total)
    return begins, sums


def _run(chance: random.Random, at: datetime, cast: _Cast, now: datetime) -> Execution:
    persona, agent = chance.choice(cast.agents)
    prompt, response = chance.choice(persona.talks)
    system = f"You are {persona.name}, a {persona.role}. {persona.description}"
    words = {"n": chance.randint(12, 4_800), "x": chance.choice(cast.customer.subjects)}
    model = chance.choice(cast.customer.models)
    incident = _INCIDENT_ENDED < now - at < _INCIDENT_BEGAN
    status, code = _outcome(chance, failing=0.22 if incident else 0.018)
    asked, told = (len(system) + len(prompt)) // 4 + 160, len(response) // 4 + 40
    per_input, per_output = _PRICES[model]
    return Execution(
        id=_id(chance, at),
        tenant=cast.tenant,
        agent_id=agent.pk,
        agent_name=agent.name,
        prompt=prompt.format(**words),
        model=model,
        response="" if status == "failed" else response.format(**words),
        status=status,
        stop_reason=_STOPPED.get(status) or code.lower(),
        error_code=code,
        provider="openai",
        system_prompt=system,
        input_tokens=asked,
        output_tokens=0 if status == "failed" else told,
        cost_usd=round(Decimal((asked * per_input + told * per_output) / 1_000_000), 9),
        latency_ms=_latency(chance, model, code, slow=incident),
        request_id=f"{chance.getrandbits(128):032x}",
        created_at=at,
    )


def _tell_steps(runs: Sequence[Execution]) -> None:
    """For each run that succeeded: the model asks for a tool, the tool answers, the model sums up."""
    tools = _first_tools(runs)
    Step.objects.bulk_create(
        step
        for run in runs
        if run.status == Execution.Status.SUCCEEDED and run.agent_id in tools
        for step in _steps(run, tools[run.agent_id])
    )


def _first_tools(runs: Sequence[Execution]) -> dict[uuid.UUID, str]:
    """The name of a tool of each agent."""
    found = AgentTool.objects.filter(agent__in={run.agent_id for run in runs})
    return dict(found.order_by("-tool__name").values_list("agent", "tool__name"))


def _steps(run: Execution, tool: str) -> Iterator[Step]:
    call, found = json.dumps({"query": run.prompt[:60]}), json.dumps({"results": 3})
    third = run.latency_ms // 3
    told = (
        (Step.Kind.MODEL, run.model, run.prompt, f"{tool} {call}", 180, 24),
        (Step.Kind.TOOL, tool, call, found, None, None),
        (Step.Kind.MODEL, run.model, found, run.response, 240, len(run.response) // 4),
    )
    for position, (kind, name, given, answered, tokens_in, tokens_out) in enumerate(told):
        yield Step(
            execution=run,
            position=position,
            kind=kind,
            name=name,
            input=given,
            output=answered,
            input_tokens=tokens_in,
            output_tokens=tokens_out,
            latency_ms=third,
        )


def _outcome(chance: random.Random, *, failing: float) -> tuple[str, str]:
    """Status and error code."""
    drawn = chance.random()
    if drawn < failing:
        weights = [weight for _, weight in _FAILURES]
        return "failed", chance.choices(_FAILURES, weights)[0][0]
    if drawn < failing + 0.008:
        return "incomplete", ""
    return Execution.Status.SUCCEEDED.value, ""


def _latency(chance: random.Random, model: str, code: str, *, slow: bool) -> int:
    if code == "MODEL_TIMEOUT":
        return 60_000 + chance.randint(0, 400)
    return round(_LATENCY_MS[model] * chance.lognormvariate(0, 0.55) * (2.4 if slow else 1))


def _id(chance: random.Random, at: datetime) -> uuid.UUID:
    """A UUIDv7 of that moment."""
    milliseconds = int(at.timestamp() * 1000)
    drawn = chance.getrandbits(74)
    high = milliseconds << 16 | 0x7000 | drawn >> 62
    return uuid.UUID(int=high << 64 | 0b10 << 62 | drawn & (1 << 62) - 1)
