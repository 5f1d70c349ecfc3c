#!/usr/bin/env bash
# Resolves requirements/*.in into hashed locks without any index address.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
uv=${UV:-../.venvs/tools/bin/uv}
find_links=${PIP_FIND_LINKS:+--find-links $PIP_FIND_LINKS}
flags="--generate-hashes --no-emit-index-url --no-emit-find-links --python-version 3.11 --no-header --no-annotate --quiet"
# torch and torchvision stay out of the lock: which build runs depends on the machine (scripts/setup.sh)
$uv pip compile $flags $find_links --no-emit-package torch --no-emit-package torchvision platform.in -o platform.lock
$uv pip compile $flags training.in -o training.lock
$uv pip compile $flags --override serving.override serving.in -o serving.lock
echo "locked: $(wc -l < platform.lock) + $(wc -l < training.lock) + $(wc -l < serving.lock) lines"
