"""Agents as this process last read them, so that a run need not read its agent again.

A snapshot may be old at any time, and is never believed: the statement that records a run writes
nothing where the agent's version is another by now (`queries.RECORD`), and then it is read anew.
"""

import uuid
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock

from agents.models import Agent
from executions import queries

CAPACITY = 10_000


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An agent at one version. `tools` are the names of its tools, ordered by code point."""

    tenant_id: uuid.UUID
    agent_id: uuid.UUID
    name: str
    role: str
    version: int
    tools: tuple[str, ...]


_kept: OrderedDict[tuple[uuid.UUID, uuid.UUID], Snapshot] = OrderedDict()
_lock = Lock()


def snapshot(tenant_id: uuid.UUID, agent_id: uuid.UUID) -> Snapshot:
    """The tenant's agent as it was when it was last read. Raises Agent.DoesNotExist."""
    found = _kept.get((tenant_id, agent_id))
    if found is None:
        found = read(tenant_id, agent_id)
        with _lock:
            _kept[tenant_id, agent_id] = found
            if len(_kept) > CAPACITY:
                _kept.popitem(last=False)
    return found


def forget(outdated: Snapshot) -> None:
    """It was found to be old; the next one is read."""
    _kept.pop((outdated.tenant_id, outdated.agent_id), None)


def read(tenant_id: uuid.UUID, agent_id: uuid.UUID) -> Snapshot:
    """The tenant's agent as it is. Raises Agent.DoesNotExist."""
    row = queries.AGENT(tenant_id=tenant_id, pk=agent_id).first()
    if row is None:
        raise Agent.DoesNotExist
    tools = tuple(sorted(row.pop("tool_names")))
    return Snapshot(tenant_id, agent_id, tools=tools, **row)
