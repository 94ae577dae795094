import uuid
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ErrorResponse(BaseModel):
    error_code: str
    message: str
    details: Any | None = None


class ToolCreate(BaseModel):
    name: str = Field(min_length=1, max_length=100)
    description: str = ""


class ToolResponse(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: uuid.UUID
    name: str
    description: str
    created_at: datetime
    updated_at: datetime


class ToolListResponse(BaseModel):
    items: list[ToolResponse]
    total: int
    limit: int
    offset: int
    has_more: bool


class AgentResponse(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: uuid.UUID
    name: str
    role: str
    description: str
    tools: list[ToolResponse]
    created_at: datetime
    updated_at: datetime


class ExecutionRequest(BaseModel):
    prompt: str = Field(min_length=1, max_length=10000)
    model: str


class ExecutionResponse(BaseModel):
    execution_id: uuid.UUID
    agent_id: uuid.UUID
    model: str
    prompt: str
    response: str
    tools_used: list[str]
    status: str
    created_at: datetime


class HistoryItem(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: uuid.UUID
    agent_id: uuid.UUID
    model: str
    prompt: str
    response: str
    status: str
    created_at: datetime


class HistoryResponse(BaseModel):
    items: list[HistoryItem]
    total: int
    limit: int
    offset: int
    has_more: bool
