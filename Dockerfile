# The API's image is the last stage; `--target tests` makes the one that runs the suite.
# Nothing here needs BuildKit: the classic builder makes the same image.

FROM python:3.13-slim AS base
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1
WORKDIR /app


# Wheels alone, each of a known hash: nothing is compiled, so no stage needs a compiler.
FROM base AS build
RUN python -m venv --without-pip /opt/venv
COPY requirements/base.txt requirements/
RUN pip --python /opt/venv/bin/python install \
        --no-cache-dir --require-hashes --only-binary :all: -r requirements/base.txt
COPY manage.py ./
COPY map_project map_project
COPY tools tools
COPY agents agents
COPY executions executions
COPY ratelimit ratelimit
COPY deploy deploy
# Settings want these three; collecting static files opens none of them.
RUN mkdir static \
    && SECRET_KEY=unused DATABASE_URL=postgres://unused/unused REDIS_URL=redis://unused \
        python manage.py collectstatic --noinput --verbosity 0 \
    && python -m compileall -q manage.py map_project tools agents executions ratelimit
# Collected, they need not be there twice; nobody reads a script's map or a translation's source here.
RUN find /opt/venv -path '*/static/*' -type f ! -name '*.py*' -delete \
    && find /opt/venv -name '*.po' -delete \
    && find static -name '*.map*' -delete


FROM base AS app
# The secrets' volume takes its owner and mode from this folder when it is made.
RUN useradd --system --uid 10001 --user-group --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin map \
    && install -d -o map -g map -m 0700 /run/map
COPY --from=build /opt/venv /opt/venv
COPY --from=build /app /app
# `docker compose exec api manage COMMAND`: manage.py, with the secrets that the API runs with.
RUN ln -s /app/deploy/manage.sh /usr/local/bin/manage
USER map
ENV HOST=0.0.0.0 PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "/app/deploy/healthcheck.py"]
# Both in exec form, and the entrypoint ends in exec: the server is process 1 and gets the signals.
ENTRYPOINT ["sh", "/app/deploy/entrypoint.sh"]
CMD ["python", "-m", "map_project.server"]


FROM app AS tests
USER root
# For the tests that start servers of their own, follow `make run`, or run the README's commands.
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl make redis-server zsh \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/dev.txt requirements/
RUN pip --python /opt/venv/bin/python install \
        --no-cache-dir --require-hashes --only-binary :all: -r requirements/dev.txt \
    && cp requirements/dev.txt /opt/venv/dev.txt
COPY --chown=map:map . .
RUN chown map:map /app
USER map
ENV HOME=/tmp
HEALTHCHECK NONE
CMD ["python", "-m", "pytest"]


FROM app
