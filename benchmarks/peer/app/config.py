"""Settings, from the environment: DATABASE_URL, REDIS_URL, RATE_LIMIT, RATE_WINDOW_MS, POOL_SIZE."""

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    database_url: str = "postgresql+asyncpg://postgres@127.0.0.1:5432/peer"
    redis_url: str = "redis://127.0.0.1:6379/0"
    rate_limit: int = 100_000_000
    rate_window_ms: int = 60_000
    pool_size: int = 10


settings = Settings()
