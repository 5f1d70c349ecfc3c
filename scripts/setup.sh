#!/usr/bin/env bash
# Makes .venvs/{platform,training,serving} from requirements/*.lock. An environment that is whole and current is kept.
#
#   setup.sh [ENVIRONMENT…]      makes these alone; `setup.sh peers` makes .venvs/peers, for `recsys bench peers`
#
#   PYTHON=/path/to/python3.11   the interpreter to use
#   TORCH=index|local|cpu        which build of torch (README); default: the last choice, else a wheel under
#                                PIP_FIND_LINKS, else the package index's build
set -euo pipefail
cd "$(dirname "$0")/.."
# a machine in a company has its own authority among the system's certificates, and uv looks at them only when told to
if [ -s /etc/ssl/certs/ca-certificates.crt ] || [ -s /etc/pki/tls/certs/ca-bundle.crt ]; then
  export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-true}"
fi
unset PYTHONDONTWRITEBYTECODE  # the first import, at the end, caches the libraries' bytecode

fail() { echo "setup: $1" >&2; exit 1; }
say() { printf 'setup %3ds  %s\n' "$SECONDS" "$1"; }

# Free space for each build of torch, in GiB, with the demo's own data and the package cache on the same disk.
NEEDED_INDEX=11
NEEDED_SMALL=7
GLIBC_NEEDED=2.35  # of the Triton wheel
UV_VERSION=0.13.9
uv=.venvs/tools/bin/uv

environments=("$@")
[ $# -gt 0 ] || environments=(platform training serving)
for name in "${environments[@]}"; do
  [ -f "requirements/$name.lock" ] && [ -f "requirements/$name.in" ] \
    || fail "there is no environment $name; there are platform, training, serving and peers"
done

requirement() { sed -nE "s/^($1==[^ ]+).*/\1/p" requirements/torch.lock; }
torch=$(requirement torch)
torchvision=$(requirement torchvision)

# --- what must be there before anything is installed ----------------------------------------------------------------
is_python311() { [ "$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null)" = 3.11 ]; }

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.11 python3 python; do
    if [ -n "$candidate" ] && command -v "$candidate" > /dev/null && is_python311 "$candidate"; then
      # the interpreter itself: a shim of pyenv or asdf depends on the folder it is called from
      "$candidate" -c 'import sys; print(sys.executable)'
      return
    fi
  done
  [ -z "${PYTHON:-}" ] || return 0
  if command -v uv > /dev/null; then
    candidate=$(uv python find --no-project 3.11 2> /dev/null || { uv python install 3.11 > /dev/null 2>&1 && uv python find --no-project 3.11 2> /dev/null; } || true)
    if [ -n "$candidate" ] && is_python311 "$candidate"; then echo "$candidate"; fi
  fi
}

check_machine() {
  command -v make > /dev/null || fail "make is missing; install it: apt-get install make (Debian, Ubuntu), dnf install make (Fedora)"
  case "$(uname -s)/$(uname -m)" in
    Linux/x86_64) ;;
    Linux/aarch64) say "Linux on ARM: the locks resolve here, but nobody has run the demo on it yet" ;;
    Darwin/arm64) say "macOS: there is no Triton wheel for it, so 'make demo' and the tests marked 'services' cannot run; training and the Dagster UI can" ;;
    *) fail "$(uname -s) on $(uname -m) is not supported; use Linux on x86-64 (or on ARM, or macOS on ARM without Triton)" ;;
  esac
  if [ "$(uname -s)" = Linux ]; then
    local glibc
    glibc=$(getconf GNU_LIBC_VERSION 2> /dev/null | awk '{ print $2 }') || true
    [ -n "$glibc" ] || fail "this system's C library is not glibc, which the wheels of Triton and torch need; use Debian 12, Ubuntu 22.04 or newer (a container will do)"
    [ "$(printf '%s\n' "$GLIBC_NEEDED" "$glibc" | sort -V | head -n 1)" = "$GLIBC_NEEDED" ] \
      || fail "glibc $glibc is too old, the Triton wheel needs $GLIBC_NEEDED; use Debian 12, Ubuntu 22.04 or newer (a container will do)"
  fi
}

check_disk() {
  local needed=$NEEDED_INDEX free
  [ "$variant" = index ] || needed=$NEEDED_SMALL
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
  [ "$free" -ge "$needed" ] || fail "only $free GiB free in $PWD, set-up and demo need $needed GiB$(
    [ "$variant" != index ] || echo " ($NEEDED_SMALL GiB with the small build: make setup TORCH=cpu)"); free some, or clone to another disk"
}

# --- which build of torch --------------------------------------------------------------------------------------------
local_torch() {  # whether PIP_FIND_LINKS (folders or pages, separated by spaces) holds a wheel for this machine
  [ -n "${PIP_FIND_LINKS:-}" ] && $uv pip install --quiet --dry-run --no-index "${find_links[@]}" --no-deps \
    --python "$python" --target .venvs/none "$torch" 2> /dev/null
}

choose_torch() {
  case "${TORCH:-}" in
    index | local | cpu) echo "$TORCH" ;;
    "") if [ -f .venvs/torch ]; then cat .venvs/torch; elif local_torch; then echo local; else echo index; fi ;;
    *) return 1 ;;
  esac
}

install_torch() {  # torchvision for the platform alone: the peers have no pictures, and it needs pillow
  local builds=("$torch")
  [ "$1" != platform ] || builds+=("$torchvision")
  local pip=("$uv" pip install --quiet --python ".venvs/$1/bin/python" --no-deps)
  case "$variant" in
    index)
      if [ "$1" = platform ]; then
        "${pip[@]}" --require-hashes -r requirements/torch.lock
      else
        awk '/^[^ \t]/ { kept = !/^torchvision==/ } kept' requirements/torch.lock | "${pip[@]}" --require-hashes -r -
      fi ;;
    cpu) "${pip[@]}" --torch-backend cpu "${builds[@]}" ;;
    local) "${pip[@]}" "${find_links[@]}" "${builds[@]}" ;;
  esac
}

# --- the environments ------------------------------------------------------------------------------------------------
has_torch() { [ "$1" = platform ] || [ "$1" = peers ]; }

# What an environment is made from: its lock, the build of torch, the project's own metadata, the interpreter, the place.
fingerprint() {
  { cat "requirements/$1.lock" pyproject.toml; ! has_torch "$1" || { cat requirements/torch.lock; echo "$variant"; }
    "$python" -VV; echo "$python"; pwd; } | sha256sum | cut -c1-16
}

# Made from the present locks, and every installed file is still there. The stamp is written last, so an environment
# whose set-up was cut off has none.
whole() {
  [ -f ".venvs/$1/.stamp" ] && [ "$(cat ".venvs/$1/.stamp")" = "$(fingerprint "$1")" ] || return 1
  .venvs/"$1"/bin/python scripts/installed_files.py || { say "$1: is broken, making it anew"; return 1; }
}

make_environment() {
  local name=$1
  if whole "$name"; then say "$name: is as its lock says"; return; fi
  say "$name: installing $(grep -c '==' "requirements/$name.lock") locked packages$(! has_torch "$name" || echo ", torch: $variant")"
  rm -rf ".venvs/$name"  # downloads stay in uv's cache, so a cut-off set-up goes on from there
  "$uv" venv --quiet --python "$python" ".venvs/$name"
  if has_torch "$name"; then
    install_torch "$name" || fail "$name: torch ($variant) could not be installed; is the package index reachable? Other builds: make setup TORCH=index, TORCH=cpu"
  fi
  "$uv" pip install --quiet --python ".venvs/$name/bin/python" --no-deps --require-hashes -r "requirements/$name.lock" \
    || fail "$name: the lock could not be installed; is the package index reachable?"
  "$uv" pip install --quiet --python ".venvs/$name/bin/python" --no-deps -e . || fail "$name: the project itself could not be installed"
  made+=("$name")
}

try_imports() {  # side by side: each takes seconds of one core
  [ ${#made[@]} -gt 0 ] || return 0
  say "trying what was installed: ${made[*]}"
  local name failed=0 pids=()
  for name in "${made[@]}"; do .venvs/"$name"/bin/python scripts/try_imports.py "$name" & pids+=($!); done
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  [ $failed = 0 ] || exit 1
  for name in "${made[@]}"; do fingerprint "$name" > ".venvs/$name/.stamp"; done
}

check_machine
python=$(find_python)
[ -n "$python" ] || fail "Python 3.11 is needed (Merlin and Triton's stub are built for it)$([ -z "${PYTHON:-}" ] || echo ", and PYTHON=$PYTHON is not that"); install it: apt-get install python3.11 python3.11-venv, or uv python install 3.11; or name it: make setup PYTHON=/path/to/python3.11"
mkdir -p .venvs
if command -v flock > /dev/null; then
  exec 9> .venvs/.lock
  flock -n 9 || { say "another set-up runs in this folder, waiting for it"; flock 9; }
fi
if ! "$uv" --version 2> /dev/null | grep -q " $UV_VERSION"; then
  say "installing uv, which installs the rest"
  rm -rf .venvs/tools
  "$python" -m venv .venvs/tools > /dev/null || fail "$python -m venv failed; on Debian: apt-get install python3.11-venv"
  .venvs/tools/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" || fail "pip could not install uv; is the package index reachable?"
fi
find_links=()
for link in ${PIP_FIND_LINKS:-}; do find_links+=(--find-links "$link"); done
variant=$(choose_torch) || fail "TORCH=$TORCH is not known; it is index, local or cpu"

made=()
for name in "${environments[@]}"; do
  [ ${#made[@]} -gt 0 ] || [ -f ".venvs/$name/.stamp" ] || check_disk
  make_environment "$name"
done
try_imports
echo "$variant" > .venvs/torch
say "done"
