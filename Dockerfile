FROM python:3.12-slim
WORKDIR /app
COPY pyproject.toml README.md CHANGELOG.md LICENSE ./
COPY cutmv ./cutmv
RUN pip install --no-cache-dir '.[app,redis,postgres,push,emulator,suggest]' && useradd --create-home cutmv \
    && install -d -o cutmv /data
USER cutmv
ENV CUTMV_DATA_DIR=/data
ENTRYPOINT ["cutmv"]
CMD ["web", "--host", "0.0.0.0"]
