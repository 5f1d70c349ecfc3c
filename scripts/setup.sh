#!/usr/bin/env bash
# Makes .venvs/{platform,training,serving} from requirements/*.lock; a second call sees the stamps and takes no time.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "setup: $1" >&2; exit 1; }
say() { printf 'setup %3ds  %s\n' "$SECONDS" "$1"; }

TORCH=torch==2.13.0
TORCHVISION=torchvision==0.28.0  # with --no-deps: its compiled operators are not used, see recsys_assets/lib/torch_setup.py
NEEDED_GIB=9

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3 python; do
    if [ -n "$candidate" ] && command -v "$candidate" > /dev/null \
        && [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null)" = 3.11 ]; then
      command -v "$candidate"
      return
    fi
  done
  fail "Python 3.11 is needed (Merlin and Triton's stub are built for it) and none was found; install it, or name it: make setup PYTHON=/path/to/python3.11"
}

# What an environment is made from: its lock, the project's own metadata, the versions above, the interpreter.
fingerprint() { { cat "requirements/$1.lock" pyproject.toml; echo "$TORCH $TORCHVISION"; "$python" -VV; pwd; } | sha256sum | cut -c1-16; }
fresh() { [ -f ".venvs/$1/.stamp" ] && [ "$(cat ".venvs/$1/.stamp")" = "$(fingerprint "$1")" ]; }

python=$(find_python)
if fresh platform && fresh training && fresh serving; then
  say "the three environments are as their locks say"
  exit 0
fi

free_kib=$(df -Pk . | awk 'NR == 2 { print $4 }')
[ "$free_kib" -ge $((NEEDED_GIB * 1024 * 1024)) ] || fail "only $((free_kib / 1024 / 1024)) GiB free here, the environments and the demo need $NEEDED_GIB GiB; free some, or clone to another disk"

mkdir -p .venvs
if [ ! -x .venvs/tools/bin/uv ]; then
  say "installing uv, which installs the rest"
  "$python" -m venv .venvs/tools || fail "python -m venv failed; on Debian install python3.11-venv"
  .venvs/tools/bin/python -m pip install --quiet --disable-pip-version-check uv==0.13.9 || fail "pip could not install uv; is the package index reachable?"
fi
uv=.venvs/tools/bin/uv
find_links=()
[ -n "${PIP_FIND_LINKS:-}" ] && find_links=(--find-links "$PIP_FIND_LINKS")

make_environment() {
  local name=$1
  if fresh "$name"; then say "$name: as its lock says"; return; fi
  say "$name: installing $(grep -c '==' "requirements/$name.lock") locked packages"
  rm -f ".venvs/$name/.stamp"
  $uv venv --quiet --allow-existing --python "$python" ".venvs/$name"
  if [ "$name" = platform ]; then
    # The one package whose build depends on the machine: taken from PIP_FIND_LINKS where that holds a CPU build.
    $uv pip install --quiet --python ".venvs/$name/bin/python" "${find_links[@]}" --no-deps "$TORCH" "$TORCHVISION" \
      || fail "$name: torch could not be installed"
  fi
  $uv pip install --quiet --python ".venvs/$name/bin/python" --no-deps --require-hashes -r "requirements/$name.lock" \
    || fail "$name: the lock could not be installed; is the package index reachable?"
  $uv pip install --quiet --python ".venvs/$name/bin/python" --no-deps -e . || fail "$name: the project itself could not be installed"
  fingerprint "$name" > ".venvs/$name/.stamp"
}

for name in platform training serving; do make_environment "$name"; done
say "done"
