"""Runs of a month: busy days and quiet nights, a bad afternoon, fast models and slow ones."""

import random
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from agents.models import Agent, AgentTool
from executions.models import Execution
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
_FAILURES = (("MODEL_ERROR", 5), ("MODEL_TIMEOUT", 3), ("TOOL_ERROR", 1))
# How busy each hour of a customer's own day is.
_HOURS = (1, 1, 1, 1, 1, 2, 5, 12, 22, 27, 28, 25, 18, 24, 27, 25, 20, 13, 8, 6, 4, 3, 2, 1)
_WEEKEND = 0.25


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
        Execution.objects.bulk_create([_run(chance, *moment, now) for moment in part])
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
    words = {"n": chance.randint(12, 4_800), "x": chance.choice(cast.customer.subjects)}
    model = chance.choice(cast.customer.models)
    incident = _INCIDENT_ENDED < now - at < _INCIDENT_BEGAN
    status, code = _outcome(chance, failing=0.22 if incident else 0.018)
    return Execution(
        id=_id(chance, at),
        tenant=cast.tenant,
        agent_id=agent.pk,
        agent_name=agent.name,
        prompt=prompt.format(**words),
        model=model,
        response="" if status == "failed" else response.format(**words),
        status=status,
        error_code=code,
        latency_ms=_latency(chance, model, code, slow=incident),
        request_id=f"{chance.getrandbits(128):032x}",
        created_at=at,
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
