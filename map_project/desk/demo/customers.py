"""The customers of the demonstration, read from `customers.toml`."""

import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Persona:
    """An agent: its tools by name, and pairs of a prompt and an answer."""

    name: str
    role: str
    description: str
    tools: tuple[str, ...]
    talks: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Customer:
    """A tenant. `share` weighs its runs; `zone` is its offset to UTC in hours, for its nights."""

    name: str
    share: float
    zone: int
    models: tuple[str, ...]
    subjects: tuple[str, ...]
    agents: tuple[Persona, ...]
    rate_limit_requests: int | None = None


def _read() -> tuple[dict[str, str], tuple[Customer, ...]]:
    read = tomllib.loads((Path(__file__).parent / "customers.toml").read_text())
    personas = {}
    for key, agent in read["agents"].items():
        talks = tuple((talk["prompt"], talk["response"]) for talk in agent.pop("talks"))
        personas[key] = Persona(**agent, talks=talks)
    customers = tuple(
        Customer(**{**row, "agents": tuple(personas[key] for key in row["agents"])})
        for row in read["customers"]
    )
    return read["tools"], customers


TOOLS, CUSTOMERS = _read()
