from sqlalchemy import func
from sqlalchemy.orm import selectinload
from sqlmodel import select

from .models import Agent, ExecutionLog, Tool


class ToolRepository:
    def __init__(self, s):
        self.s = s

    async def list(self, tenant_id, limit, offset):
        total = (
            await self.s.exec(
                select(func.count()).select_from(Tool).where(Tool.tenant_id == tenant_id)
            )
        ).one()
        items = (
            await self.s.exec(
                select(Tool)
                .where(Tool.tenant_id == tenant_id)
                .order_by(Tool.created_at.desc(), Tool.id)
                .limit(limit)
                .offset(offset)
            )
        ).all()
        return items, total

    async def create(self, tool):
        self.s.add(tool)
        await self.s.commit()
        return tool


class AgentRepository:
    def __init__(self, s):
        self.s = s

    async def get(self, tenant_id, agent_id):
        return (
            await self.s.exec(
                select(Agent).where(Agent.id == agent_id).options(selectinload(Agent.tools))
            )
        ).first()


class ExecutionLogRepository:
    def __init__(self, s):
        self.s = s

    async def create(self, log):
        self.s.add(log)
        await self.s.commit()
        return log

    async def count_total(self, tenant_id):
        return (
            await self.s.exec(
                select(func.count())
                .select_from(ExecutionLog)
                .where(ExecutionLog.tenant_id == tenant_id)
            )
        ).one()

    async def list_paginated(self, tenant_id, limit, offset):
        return (
            await self.s.exec(
                select(ExecutionLog)
                .where(ExecutionLog.tenant_id == tenant_id)
                .order_by(ExecutionLog.created_at.desc())
                .limit(limit)
                .offset(offset)
            )
        ).all()
