FROM python:3.12-slim
WORKDIR /app
COPY requirements.lock ./
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY cutmv ./cutmv
RUN pip install --no-cache-dir --no-deps . && useradd --create-home --uid 1000 cutmv \
    && install -d -o cutmv /data
USER cutmv
# It writes to /data and /tmp alone: run it with `--read-only --tmpfs /tmp`, as docker-compose.yml does.
ENV CUTMV_DATA_DIR=/data PYTHONDONTWRITEBYTECODE=1
VOLUME /data
ENTRYPOINT ["cutmv"]
# Of this container's own loopback. Who publishes a port says `web --host 0.0.0.0`, which turns sign-in on.
CMD ["web"]
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", \
    "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
