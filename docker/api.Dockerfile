# The API: no torch, no compiler. Build from the repository's root:
#   docker build -f docker/api.Dockerfile -t spikebit-api .
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements requirements
COPY pyproject.toml README.md ./
COPY client/pyproject.toml client/pyproject.toml
COPY docker/select_requirements.py docker/
RUN python -m venv /opt/venv \
 && python docker/select_requirements.py . > /tmp/requirements.txt \
 && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt
COPY runtime runtime
COPY client client
COPY engine engine
COPY jobs jobs
COPY api api
COPY worker worker
COPY serve serve
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation ./client . \
 && rm -rf /opt/venv/lib/python3.11/site-packages/worker

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home spikebit && mkdir /data && chown spikebit /data
COPY --from=build /opt/venv /opt/venv
COPY docker/make_bucket.py /opt/make_bucket.py
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 SPIKEBIT_DATA=/data SPIKEBIT_HOST=0.0.0.0 SPIKEBIT_PORT=8000
USER 10001
WORKDIR /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=6 \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=4)"]
CMD ["python", "-m", "api"]
