"""Django settings. All environment variables are read and validated here, and only here."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import django_stubs_ext
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from map_project import embedded
from map_project.api.logs import logging_config
from map_project.api.spectacular import SPECTACULAR_SETTINGS  # noqa: F401  of drf-spectacular
from map_project.desk.theme import UNFOLD  # noqa: F401  a setting of django-unfold
from map_project.environment import (
    check_certificates,
    env_bool,
    env_collector,
    env_host,
    env_hosts,
    env_int,
    env_keys,
    env_networks,
    env_origins,
    env_text,
    env_url,
    ignore_libpq_variables,
    postgresql_parameters,
    random_key,
    redis_url,
    stored_secret,
)

# Required before models and admin classes are defined: without it, `ModelAdmin[Tool]` is a TypeError.
django_stubs_ext.monkeypatch()

BASE_DIR = Path(__file__).resolve().parent.parent

# Without DATABASE_URL or REDIS_URL, an embedded server of this checkout is used.
EMBEDDED_POSTGRES = not env_text("DATABASE_URL")
EMBEDDED_REDIS = not env_text("REDIS_URL")
EMBEDDED = embedded.usable_location(BASE_DIR, postgres=EMBEDDED_POSTGRES, redis=EMBEDDED_REDIS)
ignore_libpq_variables(keep_credentials=not EMBEDDED_POSTGRES)
check_certificates()
DATABASE_URL = env_url(
    "DATABASE_URL",
    ("postgresql", "postgres"),
    lambda: EMBEDDED.database_url if EMBEDDED else "",
)
REDIS_URL = redis_url(
    "REDIS_URL",
    env_url(
        "REDIS_URL", ("redis", "rediss", "unix"), lambda: EMBEDDED.redis_url if EMBEDDED else ""
    ),
)

DEBUG = env_bool("DEBUG", False)
# A developer's machine: demo data can be created, and the log is plain text.
DEVELOPMENT = DEBUG or EMBEDDED is not None

SECRET_KEY = env_text("SECRET_KEY")
if not SECRET_KEY:
    if EMBEDDED is None:
        raise ImproperlyConfigured(
            "SECRET_KEY must be set to a random string of 50 characters or more."
        )
    SECRET_KEY = stored_secret("SECRET_KEY", EMBEDDED.data_dir / "secret_key")

# Former keys, separated by spaces. Signatures made with them stay valid.
SECRET_KEY_FALLBACKS = env_text("SECRET_KEY_FALLBACKS").split()

# Encrypt the secrets of tools and the credentials of models: the first key encrypts, all keys decrypt.
# Without a key, secrets cannot be stored.
SECRETS_KEYS = env_keys("SECRETS_KEYS")
if EMBEDDED and not SECRETS_KEYS:
    SECRETS_KEYS = [stored_secret("SECRETS_KEYS", EMBEDDED.data_dir / "secrets_key", random_key)]
# Private networks that tools can reach in addition to the public internet.
TOOL_ALLOWED_NETWORKS = env_networks("TOOL_ALLOWED_NETWORKS")

HOST = env_host("HOST", "127.0.0.1")
PORT = env_int("PORT", 8000, minimum=1, maximum=65535)
METRICS_PORT = env_int("METRICS_PORT", 0, minimum=0, maximum=65535)  # of /metrics; 0: none
if METRICS_PORT == PORT:
    raise ImproperlyConfigured("METRICS_PORT must differ from PORT.")
WEB_CONCURRENCY = env_int("WEB_CONCURRENCY", 2, minimum=1, maximum=64)
# Client connections per server process. Most requests wait for a model and occupy only a greenlet.
WEB_CONNECTIONS = env_int("WEB_CONNECTIONS", 4_000, minimum=10, maximum=20_000)
# Streams of events per server process.
MAX_OPEN_STREAMS = env_int("MAX_OPEN_STREAMS", 2_000, minimum=1, maximum=20_000)
WORKER_CONCURRENCY = env_int("WORKER_CONCURRENCY", 100, minimum=1, maximum=5_000)
WORKER_PORT = env_int("WORKER_PORT", 0, minimum=0, maximum=65535)  # of its health checks; 0: none
# Database connections per server process. A request that waits for a model or a tool holds none.
DATABASE_POOL_SIZE = env_int("DATABASE_POOL_SIZE", 10, minimum=1, maximum=100)
# The time that requests in progress have to finish after a stop signal. Longer than RUN_TIMEOUT_SECONDS.
GRACEFUL_TIMEOUT_SECONDS = env_int("GRACEFUL_TIMEOUT_SECONDS", 130, minimum=1, maximum=3_600)
ALLOWED_HOSTS = env_hosts("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]")

# The default quota of a tenant. The limiter stores times as 32-bit microseconds, which limits the window.
RATE_LIMIT_REQUESTS = env_int("RATE_LIMIT_REQUESTS", 100, minimum=1, maximum=1_000_000)
RATE_LIMIT_WINDOW_SECONDS = env_int("RATE_LIMIT_WINDOW_SECONDS", 60, minimum=1, maximum=2_100)
RATE_LIMIT_TIMEOUT_MS = env_int("RATE_LIMIT_TIMEOUT_MS", 250, minimum=10, maximum=10_000)
MAX_PROMPT_LENGTH = env_int("MAX_PROMPT_LENGTH", 10_000, minimum=1, maximum=1_000_000)
MAX_BODY_BYTES = 1024 * 1024
# The time limit of a run, including its model and tool calls.
RUN_TIMEOUT_SECONDS = env_int("RUN_TIMEOUT_SECONDS", 120, minimum=1, maximum=3_600)
MAX_RUN_BYTES = env_int("MAX_RUN_BYTES", 8 * 1024**2, minimum=1024**2, maximum=1024**3)

# Traces of runs. The SDK of OpenTelemetry reads further variables, such as OTEL_EXPORTER_OTLP_HEADERS.
OTEL_EXPORTER_OTLP_ENDPOINT = env_collector("OTEL_EXPORTER_OTLP_ENDPOINT")
OTEL_SERVICE_NAME = env_text("OTEL_SERVICE_NAME", "mini-agent-platform")
OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT = env_bool(
    "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", False
)

# The providers of `agents.LanguageModel`. `executions.providers` imports a class on first use.
MODEL_PROVIDERS = {
    "mock": "executions.providers.mock.Mock",
    "openai": "executions.providers.openai.OpenAI",
    "anthropic": "executions.providers.anthropic.Anthropic",
}

INSTALLED_APPS = [
    # Before unfold, because it overrides templates of unfold. unfold must precede the admin.
    "map_project.desk.apps.DeskConfig",
    "unfold.apps.BasicAppConfig",
    "unfold.contrib.filters",
    "map_project.desk.apps.DeskAdminConfig",
    "axes",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "procrastinate.contrib.django",
    "map_project.api",
    "map_project.embedded",
    "map_project.tenants",
    "map_project.usage",
    "map_project.webhooks",
    "tools",
    "agents",
    "executions",
    "ratelimit",
]

PROCRASTINATE_READONLY_MODELS = False  # `executions.jobs.recovery` deletes jobs of dead workers.

# The log middleware is first, so that errors of the others also get a request ID.
MIDDLEWARE = [
    "map_project.api.middleware.RequestLogMiddleware",
    "map_project.openai_api.middleware.OpenAIErrorMiddleware",
    "map_project.mcp_server.middleware.McpMiddleware",
    "map_project.api.middleware.ErrorEnvelopeMiddleware",
    "map_project.desk.middleware.AdminGZipMiddleware",
    "map_project.desk.middleware.AdminPagesMiddleware",
    "map_project.api.middleware.RequestGuardMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "ratelimit.middleware.RateLimitMiddleware",
    "axes.middleware.AxesMiddleware",
]

ROOT_URLCONF = "map_project.urls"
WSGI_APPLICATION = "map_project.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Limits for a statement and for a lock wait. They are shorter than the limits of `map_project.postgresql`,
# so that PostgreSQL cancels a slow statement before the client abandons it.
STATEMENT_TIMEOUT_MS = env_int("STATEMENT_TIMEOUT_MS", 1_200, minimum=100, maximum=600_000)
LOCK_TIMEOUT_MS = 800
_parameters = postgresql_parameters("DATABASE_URL", DATABASE_URL)
DATABASES = {
    "default": {
        "ENGINE": "map_project.postgresql",
        **{name: _parameters.pop(name) for name in ("NAME", "USER", "PASSWORD", "HOST", "PORT")},
        "OPTIONS": {
            **_parameters,
            "connect_timeout": 2,
            # Detect a host that is gone, also on idle connections.
            "keepalives_idle": 10,
            "keepalives_interval": 3,
            "keepalives_count": 3,
            "tcp_user_timeout": 2_000,
            "prepare_threshold": 1,
            "server_side_binding": True,
            "options": f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}",
            "pool": {"min_size": 0, "max_size": DATABASE_POOL_SIZE},
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CACHES: dict[str, dict[str, Any]] = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": REDIS_URL,
        "OPTIONS": {
            # Their sum is RATE_LIMIT_TIMEOUT_MS. To connect takes one network round trip; a reply
            # also includes the processing time of the server.
            "SOCKET_CONNECT_TIMEOUT": 0.2 * RATE_LIMIT_TIMEOUT_MS / 1000,
            "SOCKET_TIMEOUT": 0.8 * RATE_LIMIT_TIMEOUT_MS / 1000,
            "CONNECTION_POOL_KWARGS": {
                # At least the requests that a process serves at once: the pool does not block, since
                # under load a wait for a connection would end in a timeout although Redis is fast.
                "max_connections": WEB_CONNECTIONS,
                # Redis may already have executed a command whose reply was lost.
                "retry": Retry(NoBackoff(), 0),
                # Without HELLO and CLIENT SETINFO, which add round trips to each new connection.
                "protocol": 2,
                "driver_info": None,
            },
        },
    }
}

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}Validator"}
    for name in ("UserAttributeSimilarity", "MinimumLength", "CommonPassword", "NumericPassword")
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"

# The admin's cookies. The API uses none (`map_project.desk.middleware`).
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = "/admin"
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "map_session", "map_csrf"
CSRF_COOKIE_HTTPONLY = True

# Ten failed sign-ins lock an address for 15 minutes. A successful sign-in resets the count.
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
AXES_HANDLER = "map_project.desk.lock.AuditedHandler"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = ["ip_address"]
AXES_LOCKOUT_CALLABLE = "map_project.desk.signin.locked_out"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "map_project.desk.signin.client_address"
# `map_project.desk.staff` registers the one model that operators need.
AXES_ENABLE_ADMIN = False
AXES_DISABLE_ACCESS_LOG = True
AXES_VERBOSE = False
# Masked in the log, because users can type a password into the wrong field.
AXES_SENSITIVE_PARAMETERS = ["username"]

# Behind a proxy that terminates TLS. The proxy must overwrite X-Forwarded-Proto from the client.
HTTPS = env_bool("HTTPS", False)
TRUSTED_PROXIES = env_int("TRUSTED_PROXIES", 1 if HTTPS else 0, minimum=0, maximum=10)
CSRF_TRUSTED_ORIGINS = env_origins("CSRF_TRUSTED_ORIGINS")
if HTTPS:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_SSL_REDIRECT = True
    # Health probes do not pass through the proxy.
    SECURE_REDIRECT_EXEMPT = ["^(live|ready|health)$"]
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True

# HSTS for subdomains, and its preload, affect other services of the domain.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_I18N = False
FORMAT_MODULE_PATH = "map_project.desk.formats"

STATIC_URL = "/static/"
# The image and `make run` run collectstatic: files are compressed, and cached under hashed names.
_COLLECTED = Path(env_text("STATIC_ROOT", str(BASE_DIR / "static")))
STATIC_ROOT = _COLLECTED if _COLLECTED.is_dir() else None
if STATIC_ROOT:
    STORAGES = {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    }
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = False

REST_FRAMEWORK = {
    "DEFAULT_RENDERER_CLASSES": ["map_project.api.renderers.OrjsonRenderer"],
    "DEFAULT_PARSER_CLASSES": ["map_project.api.parsers.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "map_project.api.renderers.AlwaysJSON",
    "DEFAULT_AUTHENTICATION_CLASSES": ["map_project.tenants.authentication.TenantAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": [],
    "DEFAULT_PAGINATION_CLASS": "map_project.api.pagination.StrictPagination",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "map_project.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "DATETIME_FORMAT": None,
}

LOGGING_CONFIG = "map_project.api.logs.configure"
LOGGING = logging_config(readable=DEVELOPMENT)
