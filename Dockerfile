# One image for every process; the compose file says which one a container runs.
FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements.txt .ci/uv.txt ./
RUN pip install --no-cache-dir --require-hashes -r uv.txt \
    && uv venv /opt/venv \
    && VIRTUAL_ENV=/opt/venv uv pip install --no-cache --no-build --compile-bytecode --require-hashes -r requirements.txt

FROM python:3.12-slim
# Without what installs packages: nothing is to be installed in a running container.
RUN pip uninstall --yes --quiet --root-user-action=ignore pip \
    && groupadd --system --gid 10001 orchestrator \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /app --shell /usr/sbin/nologin orchestrator \
    && install -d -o orchestrator -g orchestrator -m 0700 /var/lib/orchestrator
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py gunicorn.conf.py ./
COPY orchestrator_project orchestrator_project
COPY journal journal
COPY risk risk
COPY decisions decisions
COPY reflection reflection
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LOCAL_DIR=/var/lib/orchestrator \
    ALIVE_FILE=/tmp/alive
USER 10001:10001
EXPOSE 8000
# Of the web, which is what the image runs unless told otherwise; the compose file gives every process its own.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "orchestrator_project.wsgi"]
