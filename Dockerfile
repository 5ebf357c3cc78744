# One file for the three apps: docker build --build-arg APP=users|analytics|dashboard .
# An image holds the chassis, that app and what that app requires; no build tool stays in it.
ARG PYTHON_IMAGE=python:3.13-slim-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim
ARG APP

FROM ${NODE_IMAGE} AS node

FROM ${PYTHON_IMAGE} AS build
# gunicorn's C parser comes as source.
ARG BUILD_PACKAGES="gcc libc6-dev"
RUN apt-get update -qq \
 && apt-get install -qq -y --no-install-recommends ${BUILD_PACKAGES} \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
RUN python3 -m venv /opt/footfall
ENV PATH=/opt/footfall/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# Every archive is checked against the lock's hashes; then only what this app needs of them
# is installed, from those archives alone.
COPY requirements-image.txt ./
RUN pip wheel --quiet --require-hashes --wheel-dir wheels -r requirements-image.txt
ARG APP
ARG EXTRAS="tracing fast"
COPY pyproject.toml ops/image_requirements.py ./
RUN python image_requirements.py "$APP" $EXTRAS > wanted.txt \
 && pip install --quiet --no-index --find-links wheels -r wanted.txt
WORKDIR /source
COPY . .
RUN mkdir /app \
 && cp -r chassis "${APP}_app" gunicorn.conf.py alembic.ini /app/ \
 && cp ops/healthcheck.py ops/schema_ready.py /app/

FROM build AS build-users
FROM build AS build-analytics

FROM build AS build-dashboard
COPY --from=node /usr/local/bin/node /usr/local/bin/node
COPY --from=node /usr/local/lib/node_modules /usr/local/lib/node_modules
RUN ln -s ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm \
 && cp -r templates static /app/ \
 && python3 -m ops.browser_libraries --into /app/browser \
 && cd /app \
 && BROWSER_DIR=/app/browser ASSETS_DIR=/app/assets python -m dashboard_app.assets

FROM build-${APP} AS built
RUN pip uninstall --quiet --yes pip setuptools \
 && python -m compileall -q /app /opt/footfall

FROM ${PYTHON_IMAGE}
ARG APP
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="footfall-${APP}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 footfall \
 && useradd --uid 10001 --gid footfall --no-create-home --home-dir /tmp --shell /usr/sbin/nologin footfall \
 && install -d -o footfall -g footfall -m 0700 /data \
 && rm -rf /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip /usr/local/bin/pip*
COPY --from=built /opt/footfall /opt/footfall
COPY --from=built /app /app
WORKDIR /app
ENV PATH=/opt/footfall/bin:$PATH \
    APP=${APP} \
    PORT=8000 \
    BIND_HOST=0.0.0.0 \
    MAIL_DIR=/data/mail \
    SESSION_DIR=/data/sessions \
    BROWSER_DIR=/app/browser \
    ASSETS_DIR=/app/assets \
    HOME=/tmp \
    LIVENESS_DIR=/tmp/footfall \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["python", "healthcheck.py"]
CMD ["sh", "-c", "exec gunicorn \"${APP}_app:create_app()\""]
