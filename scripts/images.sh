#!/usr/bin/env bash
# Builds the four images from the Dockerfiles of helm/images, and tags them by commit.
#   BASE_PYTHON, BASE_TRITON, BASE_MERLIN   base images by digest, name@sha256:…
#   REGISTRY=…       goes before the names, such as registry.example/shop
#   IMAGES="…"       default: platform gateway training serving
#   SCAN=yes         trivy must find no high or critical fault that has a fix
#   PUSH=yes         pushes them
#   SIGN=yes         signs what was pushed, by cosign: keyless, or by COSIGN_KEY
#   ENGINE=docker    or podman
# Prints one line per image: name:tag, and after a push its digest.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "images: $*" >&2
  exit 1
}

engine=${ENGINE:-docker}
command -v "$engine" > /dev/null || fail "no $engine to build with: install it, or set ENGINE"
[ "${SCAN:-no}" != yes ] || command -v trivy > /dev/null || fail "SCAN=yes needs trivy"
[ "${SIGN:-no}" != yes ] || command -v cosign > /dev/null || fail "SIGN=yes needs cosign"
[ "${PUSH:-no}" != yes ] || [ -n "${REGISTRY:-}" ] || fail "PUSH=yes needs a registry: set REGISTRY"
[ "${SIGN:-no}" != yes ] || [ "${PUSH:-no}" = yes ] || fail "SIGN=yes signs what is pushed: set PUSH=yes"
[ -z "$(git status --porcelain)" ] || fail "the checkout has changes, so that no commit names its images: commit them"
registry=${REGISTRY:-}
registry=${registry%/}
tag=$(git rev-parse --short=12 HEAD)
images=(${IMAGES:-platform gateway training serving})

base_of() {
  case $1 in
    platform | gateway) echo BASE_PYTHON ;;
    serving) echo BASE_TRITON ;;
    training) echo BASE_MERLIN ;;
    *) fail "there is no image $1: platform gateway training serving" ;;
  esac
}

pushed=$(mktemp)
trap 'rm -f "$pushed"' EXIT

# every base is looked at before the first build
for image in "${images[@]}"; do
  variable=$(base_of "$image")
  base=${!variable:-}
  [[ $base =~ ^[^@[:space:]]+@sha256:[0-9a-f]{64}$ ]] \
    || fail "$variable is ${base:-empty}: name the base of $image by digest, name@sha256:… (see helm/images/$image.Dockerfile)"
done

for image in "${images[@]}"; do
  variable=$(base_of "$image")
  name="${registry:+$registry/}recsys-$image:$tag"
  "$engine" build --file "helm/images/$image.Dockerfile" --build-arg "BASE=${!variable}" \
    --label "org.opencontainers.image.revision=$(git rev-parse HEAD)" --tag "$name" . >&2
  [ "${SCAN:-no}" != yes ] || trivy image --quiet --exit-code 1 --severity HIGH,CRITICAL --ignore-unfixed "$name" >&2 \
    || fail "$name has high or critical faults that have a fix: take a newer base or newer locks (make locks)"
  digest=
  if [ "${PUSH:-no}" = yes ]; then
    if [ "$(basename "$engine")" = podman ]; then
      # its store has another digest than the registry, whose layers are compressed
      "$engine" push --digestfile "$pushed" "$name" >&2
      digest=$(cat "$pushed")
      digest=${digest:+${name%:*}@$digest}
    else
      "$engine" push "$name" >&2
      # an image that was pushed to two registries has a digest in each
      digest=$("$engine" image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$name" \
        | awk -v name="${name%:*}@" 'index($0, name) == 1 && !found++')
    fi
    [ -n "$digest" ] || fail "$engine names no digest of $name after its push"
    [ "${SIGN:-no}" != yes ] || cosign sign --yes ${COSIGN_KEY:+--key "$COSIGN_KEY"} "$digest" >&2
  fi
  echo "$name${digest:+ $digest}"
done
