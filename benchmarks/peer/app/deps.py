import uuid
from pathlib import Path

import redis.asyncio as aioredis
from fastapi import Header
from redis.exceptions import RedisError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from .config import settings

TENANT_REGISTRY = {
    f"tenant-{i}-key": uuid.UUID(f"00000000-0000-4000-8000-{i:012d}") for i in range(1, 13)
}
engine = create_async_engine(
    settings.database_url, pool_size=settings.pool_size, max_overflow=settings.pool_size
)
SessionLocal = async_sessionmaker(engine, class_=AsyncSession, expire_on_commit=False)
redis_client = aioredis.from_url(settings.redis_url, max_connections=100)


class APIError(Exception):
    def __init__(self, status, code, message, headers=None):
        self.status, self.code, self.message, self.headers = (
            status,
            code,
            message,
            headers,
        )


async def get_session():
    async with SessionLocal() as s:
        yield s


async def get_current_tenant(
    x_api_key: str | None = Header(None, alias="X-API-KEY"),
) -> uuid.UUID:
    t = TENANT_REGISTRY.get(x_api_key) if x_api_key else None
    if t is None:
        raise APIError(401, "UNAUTHORIZED", "Missing or invalid API key")
    return t


class RateLimitResult:
    __slots__ = ("allowed", "remaining", "reset", "retry_after")

    def __init__(self, a, r, ra, rs):
        self.allowed, self.remaining, self.retry_after, self.reset = bool(a), r, ra, rs


class RateLimiter:
    def __init__(self, r):
        self.script = r.register_script((Path(__file__).parent / "limiter.lua").read_text())

    async def check_and_consume(self, tenant_id) -> RateLimitResult:
        try:
            return RateLimitResult(
                *await self.script(
                    keys=[f"rl:{tenant_id}"],
                    args=[settings.rate_limit, settings.rate_window_ms],
                )
            )
        except RedisError:
            raise APIError(503, "SERVICE_UNAVAILABLE", "Rate limiter unavailable") from None


limiter = RateLimiter(redis_client)
