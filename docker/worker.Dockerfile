# A worker. CPU by default; for CUDA give the index of PyTorch's build:
#   docker build -f docker/worker.Dockerfile -t spikebit-worker --build-arg TORCH_INDEX_URL=https://download.pytorch.org/whl/cu128 .
FROM python:3.11-slim AS build
# Empty: pip's own index (on Linux x86_64 that is a CUDA build).
ARG TORCH_INDEX_URL=https://download.pytorch.org/whl/cpu
# Empty: no native kernels, torch's own operations do the same, slower.
ARG COMPILER=gcc
WORKDIR /src
# hadolint ignore=DL3008
RUN if [ -n "$COMPILER" ]; then apt-get update && apt-get install -y --no-install-recommends "$COMPILER" libc6-dev \
 && rm -rf /var/lib/apt/lists/*; fi
COPY requirements requirements
COPY pyproject.toml README.md ./
COPY client/pyproject.toml client/pyproject.toml
COPY docker/select_requirements.py docker/
RUN python -m venv /opt/venv \
 && python docker/select_requirements.py . worker > /tmp/requirements.txt \
 && /opt/venv/bin/pip install --no-cache-dir --require-hashes -r /tmp/requirements.txt \
 && /opt/venv/bin/pip install --no-cache-dir ${TORCH_INDEX_URL:+--index-url "$TORCH_INDEX_URL"} \
      -c requirements/constraints.txt torch
COPY runtime runtime
COPY client client
COPY engine engine
COPY jobs jobs
COPY api api
COPY worker worker
COPY serve serve
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --no-build-isolation ./client . \
 && rm -rf /opt/venv/lib/python3.11/site-packages/api
WORKDIR /
RUN /opt/venv/bin/python -m engine.kernels.build

FROM python:3.11-slim
RUN useradd --uid 10001 --create-home spikebit && mkdir /data && chown spikebit /data
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 SPIKEBIT_DATA=/data OMP_NUM_THREADS=1
USER 10001
WORKDIR /data
HEALTHCHECK --interval=15s --timeout=10s --start-period=90s --retries=4 CMD ["python", "-m", "worker.health"]
CMD ["python", "-m", "worker", "compute"]
