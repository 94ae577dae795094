import uuid
from datetime import UTC, datetime

from sqlalchemy import Column, DateTime, Text
from sqlmodel import Field, Relationship, SQLModel


def now():
    return datetime.now(UTC)


class AgentToolAssociation(SQLModel, table=True):
    __tablename__ = "agent_tool_associations"
    agent_id: uuid.UUID = Field(foreign_key="agents.id", primary_key=True)
    tool_id: uuid.UUID = Field(foreign_key="tools.id", primary_key=True)


class Tool(SQLModel, table=True):
    __tablename__ = "tools"
    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    tenant_id: uuid.UUID = Field(index=True)
    name: str = Field(max_length=100)
    description: str = Field(default="", sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(
        default_factory=now, sa_column=Column(DateTime(timezone=True), nullable=False)
    )
    updated_at: datetime = Field(
        default_factory=now, sa_column=Column(DateTime(timezone=True), nullable=False)
    )


class Agent(SQLModel, table=True):
    __tablename__ = "agents"
    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    tenant_id: uuid.UUID = Field(index=True)
    name: str = Field(max_length=100)
    role: str = Field(max_length=100)
    description: str = Field(default="", sa_column=Column(Text, nullable=False))
    created_at: datetime = Field(
        default_factory=now, sa_column=Column(DateTime(timezone=True), nullable=False)
    )
    updated_at: datetime = Field(
        default_factory=now, sa_column=Column(DateTime(timezone=True), nullable=False)
    )
    tools: list[Tool] = Relationship(link_model=AgentToolAssociation)


class ExecutionLog(SQLModel, table=True):
    __tablename__ = "execution_logs"
    id: uuid.UUID = Field(default_factory=uuid.uuid4, primary_key=True)
    tenant_id: uuid.UUID = Field(index=True)
    agent_id: uuid.UUID = Field(foreign_key="agents.id")
    model: str = Field(max_length=50)
    prompt: str = Field(sa_column=Column(Text, nullable=False))
    response: str = Field(sa_column=Column(Text, nullable=False))
    status: str = Field(default="success", max_length=20)
    created_at: datetime = Field(
        default_factory=now, sa_column=Column(DateTime(timezone=True), nullable=False)
    )
