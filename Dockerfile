# One image for every process; the compose file says which one a container runs.
FROM python:3.12-slim AS build
WORKDIR /build
COPY requirements.txt .ci/uv.txt ./
RUN pip install --no-cache-dir --require-hashes -r uv.txt \
    && uv venv /opt/venv \
    && VIRTUAL_ENV=/opt/venv uv pip install --no-cache --require-hashes -r requirements.txt

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /app --shell /usr/sbin/nologin orchestrator \
    && install -d -o orchestrator /var/lib/orchestrator
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
COPY manage.py gunicorn.conf.py ./
COPY orchestrator_project orchestrator_project
COPY journal journal
COPY risk risk
COPY decisions decisions
COPY reflection reflection
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 LOCAL_DIR=/var/lib/orchestrator
USER orchestrator
CMD ["gunicorn", "--bind", "0.0.0.0:8000", "orchestrator_project.wsgi"]
