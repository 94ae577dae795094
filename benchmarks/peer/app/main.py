"""The API that an engineer would otherwise build: FastAPI, SQLModel on asyncpg, Redis."""
# ruff: noqa: B008  (a dependency in a default is how FastAPI is written)

import uuid
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError

from . import mock_llm
from .deps import (
    APIError,
    engine,
    get_current_tenant,
    get_session,
    limiter,
    redis_client,
    settings,
)
from .models import ExecutionLog, Tool
from .repos import AgentRepository, ExecutionLogRepository, ToolRepository
from .schemas import (
    AgentResponse,
    ExecutionRequest,
    ExecutionResponse,
    HistoryResponse,
    ToolCreate,
    ToolListResponse,
    ToolResponse,
)


@asynccontextmanager
async def lifespan(app):
    yield
    await engine.dispose()
    await redis_client.aclose()


app = FastAPI(title="Mini Agent Platform (peer)", lifespan=lifespan)


@app.exception_handler(APIError)
async def api_error(request: Request, e: APIError):
    return JSONResponse(
        {"error_code": e.code, "message": e.message, "details": None},
        status_code=e.status,
        headers=e.headers,
    )


@app.exception_handler(RequestValidationError)
async def validation_error(request: Request, e: RequestValidationError):
    return JSONResponse(
        {
            "error_code": "VALIDATION_ERROR",
            "message": "Invalid request",
            "details": str(e.errors()),
        },
        status_code=400,
    )


@app.get("/health")
async def health():
    return {"status": "ok"}


api = APIRouter(prefix="/api/v1")


@api.post("/tools", response_model=ToolResponse, status_code=201)
async def create_tool(
    body: ToolCreate,
    tenant_id: uuid.UUID = Depends(get_current_tenant),
    session=Depends(get_session),
):
    try:
        return await ToolRepository(session).create(
            Tool(tenant_id=tenant_id, name=body.name, description=body.description)
        )
    except IntegrityError:
        await session.rollback()
        raise APIError(400, "DUPLICATE_NAME", "A tool with this name already exists") from None


@api.get("/tools", response_model=ToolListResponse)
async def list_tools(
    limit: int = Query(50, ge=1, le=100),
    offset: int = Query(0, ge=0),
    tenant_id: uuid.UUID = Depends(get_current_tenant),
    session=Depends(get_session),
):
    items, total = await ToolRepository(session).list(tenant_id, limit, offset)
    return {
        "items": items,
        "total": total,
        "limit": limit,
        "offset": offset,
        "has_more": offset + len(items) < total,
    }


async def load_agent(session, tenant_id, agent_id):
    agent = await AgentRepository(session).get(tenant_id, agent_id)
    if agent is None:
        raise APIError(404, "NOT_FOUND", "Agent not found")
    if agent.tenant_id != tenant_id:
        raise APIError(403, "FORBIDDEN", "Agent belongs to another tenant")
    return agent


@api.get("/agents/{agent_id}", response_model=AgentResponse)
async def get_agent(
    agent_id: uuid.UUID,
    tenant_id: uuid.UUID = Depends(get_current_tenant),
    session=Depends(get_session),
):
    return await load_agent(session, tenant_id, agent_id)


@api.post("/agents/{agent_id}/run", response_model=ExecutionResponse)
async def run_agent(
    agent_id: uuid.UUID,
    body: ExecutionRequest,
    response: Response,
    tenant_id: uuid.UUID = Depends(get_current_tenant),
    session=Depends(get_session),
):
    if body.model not in mock_llm.ALLOWED_MODELS:
        raise APIError(400, "INVALID_MODEL", "Unknown model")
    rl = await limiter.check_and_consume(tenant_id)
    if not rl.allowed:
        raise APIError(
            429,
            "RATE_LIMITED",
            "Rate limit exceeded",
            {"Retry-After": str(-(-rl.retry_after // 1000))},
        )
    agent = await load_agent(session, tenant_id, agent_id)
    tools = [t.name for t in agent.tools]
    text = mock_llm.generate(agent.name, agent.role, tools, body.prompt, body.model)
    log = await ExecutionLogRepository(session).create(
        ExecutionLog(
            tenant_id=tenant_id,
            agent_id=agent.id,
            model=body.model,
            prompt=body.prompt,
            response=text,
        )
    )
    response.headers["X-RateLimit-Limit"] = str(settings.rate_limit)
    response.headers["X-RateLimit-Remaining"] = str(rl.remaining)
    response.headers["X-RateLimit-Reset"] = str(rl.reset // 1000)
    return ExecutionResponse(
        execution_id=log.id,
        agent_id=agent.id,
        model=log.model,
        prompt=log.prompt,
        response=log.response,
        tools_used=tools,
        status=log.status,
        created_at=log.created_at,
    )


@api.get("/history", response_model=HistoryResponse)
async def history(
    limit: int = Query(50, ge=1, le=100),
    offset: int = Query(0, ge=0),
    tenant_id: uuid.UUID = Depends(get_current_tenant),
    session=Depends(get_session),
):
    repo = ExecutionLogRepository(session)
    total = await repo.count_total(tenant_id)
    items = await repo.list_paginated(tenant_id, limit, offset)
    return {
        "items": items,
        "total": total,
        "limit": limit,
        "offset": offset,
        "has_more": offset + len(items) < total,
    }


app.include_router(api)
