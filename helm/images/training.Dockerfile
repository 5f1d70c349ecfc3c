# recsys-training: the training steps on a GPU. Build from the repository's root:
#   docker build -f helm/images/training.Dockerfile --build-arg BASE=<Merlin TensorFlow container, by digest> -t recsys-training:<tag> .
# The base brings TensorFlow, Merlin and cuDF for the GPU; the lock's CPU builds must not replace them. Only what the
# base lacks is taken from the lock, with its hashes.
ARG BASE
FROM ${BASE}
WORKDIR /app
ARG ADDED="dagster-pipes tf2onnx onnx onnxruntime flatbuffers"
COPY requirements/training.lock requirements/
RUN awk -v added="${ADDED}" 'BEGIN { n = split(added, names); for (i = 1; i <= n; i++) wanted[names[i]] } \
      /^[^ #]/ { split($1, part, "=="); keep = part[1] in wanted } keep' requirements/training.lock > requirements/added.lock \
    && pip install --no-cache-dir --no-deps --require-hashes -r requirements/added.lock
COPY recsys_assets/__init__.py recsys_assets/ads_columns.py recsys_assets/ads_parameters.py recsys_assets/columns.py recsys_assets/exits.py recsys_assets/files.py recsys_assets/hyper_parameters.py recsys_assets/local_time.py recsys_assets/release_files.py recsys_assets/
COPY recsys_assets/versions.py recsys_assets/
COPY recsys_assets/training recsys_assets/training
# on the path of every interpreter, whatever its environment variables
RUN echo /app > "$(python -c 'import site; print(site.getsitepackages()[0])')/recsys.pth" \
    && groupadd --gid 10001 recsys \
    && useradd --uid 10001 --gid recsys --no-create-home --home-dir /tmp recsys
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
