from django.apps import AppConfig


class RateLimitConfig(AppConfig):
    """Registers the system checks of the limiter's Redis."""

    name = "ratelimit"
    verbose_name = "Rate limit"

    def ready(self) -> None:
        from ratelimit import checks, errors  # noqa: F401  registers the checks and the error code
