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
        --no-cache-dir --no-compile --require-hashes --only-binary :all: -r requirements/base.txt
COPY manage.py ./
COPY map_project map_project
COPY tools tools
COPY agents agents
COPY executions executions
COPY ratelimit ratelimit
COPY deploy deploy
# The settings require these three; nothing connects to them.
RUN export SECRET_KEY=unused DATABASE_URL=postgres://unused/unused REDIS_URL=redis://unused \
        DJANGO_SETTINGS_MODULE=map_project.settings PYTHONPATH=/app \
    && mkdir static \
    && python manage.py collectstatic --noinput --verbosity 0 --ignore rest_framework \
    && python deploy/import_all.py
# Not needed at run time: the originals of collected files, translations (USE_I18N is off), the tests of
# packages, and the sources of compiled modules.
RUN find /opt/venv -path '*/static/*' -type f ! -name '*.py*' -delete \
    && find static -name '*.map*' -delete \
    && find /opt/venv -type d -name tests -prune -exec rm -r {} + \
    && find /opt/venv -type f \( -name '*.po' -o -name '*.mo' -o -name '*.pyi' -o -name '*.pxd' \
        -o -name '*.pyx' -o -name '*.c' -o -name '*.cpp' -o -name '*.h' -o -name '*.hpp' \) -delete


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
