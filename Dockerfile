# The packages alone go on from here: without pip's cache, and without what built them.
FROM python:3.12-slim AS packages
WORKDIR /app
RUN python -m venv /opt/cutmv
ENV PATH=/opt/cutmv/bin:$PATH
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY cutmv ./cutmv
RUN pip install --no-cache-dir --no-deps . && python -m compileall -q /opt/cutmv/lib

# A web server, and a worker: on a machine, or in Cloudflare's containers (docs/serverless.md).
FROM python:3.12-slim
RUN useradd --create-home --uid 1000 cutmv && install -d -o cutmv /data
COPY --from=packages /opt/cutmv /opt/cutmv
USER cutmv
WORKDIR /data
# It writes to /data and /tmp alone: run it with `--read-only --tmpfs /tmp`, as docker-compose.yml does.
ENV PATH=/opt/cutmv/bin:$PATH CUTMV_DATA_DIR=/data PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
VOLUME /data
ENTRYPOINT ["cutmv"]
# Of this container's own loopback. Who publishes a port says `web --host 0.0.0.0`, which turns sign-in on.
CMD ["web"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
