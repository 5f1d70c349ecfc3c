# recsys-serving: Triton with what its Python models import. Build from the repository's root:
#   docker build -f helm/images/serving.Dockerfile --build-arg BASE=<Triton server container 25.07 or later, by digest> -t recsys-serving:<tag> .
# Releases before 25.07 have known remote vulnerabilities in the Python backend's shared memory.
ARG BASE
FROM ${BASE}
WORKDIR /app
COPY requirements/serving.lock requirements/
# without nvidia-pytriton: the base has a server of its own, and a second, older one has no business here
RUN awk '/^[^ #]/ { split($1, part, "=="); keep = part[1] != "nvidia-pytriton" } keep' requirements/serving.lock > requirements/image.lock \
    && pip install --no-cache-dir --break-system-packages --no-deps --require-hashes -r requirements/image.lock
COPY recsys_assets/__init__.py recsys_assets/addresses.py recsys_assets/ads_settings.py recsys_assets/columns.py recsys_assets/compute_settings.py recsys_assets/drift_settings.py recsys_assets/event_settings.py recsys_assets/event_values.py recsys_assets/release_files.py recsys_assets/source_names.py recsys_assets/schedule_settings.py recsys_assets/settings.py recsys_assets/artifacts.py recsys_assets/files.py recsys_assets/local_time.py recsys_assets/partitions.py recsys_assets/
COPY recsys_assets/manifests.py recsys_assets/versions.py recsys_assets/
COPY recsys_assets/lib recsys_assets/lib
COPY recsys_assets/serving recsys_assets/serving
COPY feature_repo feature_repo
# a .pth file: Triton's Python stub ignores PYTHONPATH
RUN echo /app > "$(python3 -c 'import site; print(site.getsitepackages()[0])')/recsys.pth" \
    && groupadd --gid 10001 recsys \
    && useradd --uid 10001 --gid recsys --no-create-home --home-dir /tmp recsys
ENV PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
