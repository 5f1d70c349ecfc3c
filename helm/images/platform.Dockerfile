# recsys-platform: Dagster's web server, daemon and code server, run and step pods. Build from the repository's root:
#   docker build -f helm/images/platform.Dockerfile --build-arg BASE=<python:3.11-slim, by digest> -t recsys-platform:<tag> .
ARG BASE
FROM ${BASE}
WORKDIR /app
# OpenMP for the baselines' library (implicit), whose wheel does not bring it
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
# torch.lock: the index's build of torch. Its CUDA libraries are not used: every step of this image runs on the CPU.
COPY requirements/torch.lock requirements/platform.lock requirements/
RUN pip install --no-cache-dir --no-deps --require-hashes -r requirements/torch.lock -r requirements/platform.lock
# pyproject.toml must lie beside the package: Dagster finds the defs folder by it
COPY pyproject.toml README.md ./
COPY recsys_assets recsys_assets
COPY feature_repo feature_repo
COPY triton_repo triton_repo
RUN pip install --no-cache-dir --no-deps --no-build-isolation --no-index -e . \
    && groupadd --gid 10001 recsys \
    && useradd --uid 10001 --gid recsys --no-create-home --home-dir /tmp recsys
ENV PYTHONDONTWRITEBYTECODE=1 HF_HUB_OFFLINE=1
USER 10001:10001
