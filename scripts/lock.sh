#!/usr/bin/env bash
# Resolves requirements/*.in into hashed locks for Linux (x86-64, ARM) and macOS, without any index address.
# Pins in the present locks stay where they still fit; delete a lock first to move all of its packages.
set -euo pipefail
cd "$(dirname "$0")/../requirements"
uv=${UV:-../.venvs/tools/bin/uv}
full=$(mktemp)
trap 'rm -f "$full"' EXIT
compile() {
  "$uv" pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --generate-hashes \
    --no-emit-index-url --no-emit-find-links --no-header --no-annotate "$@"
}
cat platform.lock torch.lock > "$full" 2> /dev/null || true
compile platform.in -o "$full"
python3 ../scripts/split_lock.py "$full" platform.lock torch.lock
compile training.in -o training.lock
compile --override serving.override serving.in -o serving.lock
cat peers.lock torch.lock > "$full" 2> /dev/null || true
compile --override peers.override peers.in -o "$full"
python3 ../scripts/split_lock.py "$full" peers.lock /dev/null  # torch is that of torch.lock
echo "locked: $(wc -l platform.lock torch.lock training.lock serving.lock peers.lock | tail -n 1 | awk '{ print $1 }') lines"
