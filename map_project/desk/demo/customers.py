"""The demo customers, read from `customers.toml`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DemoAgent:
    """An agent: the names of its tools, and pairs of a prompt and a response."""

    name: str
    role: str
    description: str
    tools: tuple[str, ...]
    conversations: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Customer:
    """A tenant. `share` is its weight in the number of runs; `zone` its UTC offset in hours."""

    name: str
    share: float
    zone: int
    models: tuple[str, ...]
    subjects: tuple[str, ...]
    agents: tuple[DemoAgent, ...]
    rate_limit_requests: int | None = None


def _read() -> tuple[dict[str, str], tuple[Customer, ...]]:
    data = tomllib.loads((Path(__file__).parent / "customers.toml").read_text())
    agents = {}
    for key, agent in data["agents"].items():
        pairs = tuple((talk["prompt"], talk["response"]) for talk in agent.pop("talks"))
        agents[key] = DemoAgent(**agent, conversations=pairs)
    customers = tuple(
        Customer(**{**row, "agents": tuple(agents[key] for key in row["agents"])})
        for row in data["customers"]
    )
    return data["tools"], customers


TOOLS, CUSTOMERS = _read()
