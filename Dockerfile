# The backup and restore service: worker, beat and the command line in one image. See docs/deployment.md.

# 1. PostgreSQL's client programs, of each major that there may be a server of.
FROM python:3.13-slim AS clients
# What the programs themselves need is as new as the system; a version pinned here would soon be gone from the archive.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends binutils libgssapi-krb5-2 liblz4-1 libreadline8 libssl3 libzstd1 \
    && rm -rf /var/lib/apt/lists/*
COPY deploy/postgresql-clients /usr/local/bin/
RUN postgresql-clients /usr/lib/postgresql 14 15 16 17 18

# 2. The Python packages, in the versions of constraints.txt.
FROM python:3.13-slim AS packages
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends binutils && rm -rf /var/lib/apt/lists/*
WORKDIR /build
RUN python -m venv --without-pip /opt/residency-backup
COPY pyproject.toml constraints.txt ./
# First what changes seldom, so that a change of the code does not install it anew.
RUN python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > requirements.txt \
    && pip --python /opt/residency-backup/bin/python install --no-cache-dir --disable-pip-version-check \
        --only-binary=:all: -c constraints.txt -r requirements.txt \
    # Debug information is half of it. The libraries in *.libs were changed after linking, and do not survive it.
    && find /opt/residency-backup -name '*.so' -exec strip --strip-unneeded {} +
COPY README.md LICENSE ./
COPY alembic alembic
COPY app app
COPY tasks tasks
RUN pip --python /opt/residency-backup/bin/python install --no-cache-dir --disable-pip-version-check --no-deps .

# 3. What runs.
FROM python:3.13-slim
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="residency-backup" \
      org.opencontainers.image.description="Backup and restore of a residency scheduler's PostgreSQL database" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        libgssapi-krb5-2 liblz4-1 libreadline8 libssl3 libzstd1 tini tzdata \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && groupadd --gid 10001 residency \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin residency \
    && install -d -o 10001 -g 10001 -m 700 /backups /state
COPY --from=clients /usr/lib/postgresql /usr/lib/postgresql
COPY --from=packages /opt/residency-backup /opt/residency-backup
COPY deploy/prepare deploy/celery-workers /usr/local/bin/
WORKDIR /srv/residency-backup
COPY alembic.ini ./
COPY alembic alembic
ENV PATH=/opt/residency-backup/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp
# Each program runs here, with what is here, or there is no image.
RUN set -e; for program in /usr/lib/postgresql/*/bin/*; do "$program" --version; done; \
    residency-backup --help > /dev/null; celery --version; alembic --version
USER 10001:10001
# Does this worker answer? It does so through the broker, as it gets its tasks. Beat has a check of its own in compose.
HEALTHCHECK --interval=60s --timeout=30s --start-period=60s --retries=3 \
    CMD ["sh", "-c", "celery -q -A tasks inspect --timeout 10 --destination celery@$HOSTNAME ping > /dev/null"]
# Not tini -g: a SIGTERM is the worker's, who ends its runs in order.
ENTRYPOINT ["tini", "--"]
CMD ["celery", "-q", "-A", "tasks", "worker", "--queues", "backup", "--concurrency", "2", "--loglevel", "INFO"]
