#!/usr/bin/env bash
# Make .venv from the locked requirements. Needs python3 >= 3.11 and a package index; run again, it only does what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

python="${PYTHON:-python3}"
"$python" - <<'CHECK'
import sys
if sys.version_info < (3, 11):
    sys.exit(f"bayesgrid needs Python 3.11 or newer, this is {sys.version.split()[0]}; name another with PYTHON=...")
CHECK

stamp=.venv/.installed
wanted=$(cat envs/requirements.lock envs/bootstrap.sh pyproject.toml | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

echo "setting up .venv (a few minutes the first time)"
[ -x .venv/bin/python ] || "$python" -m venv .venv
.venv/bin/python -m pip install --quiet 'uv>=0.9'

# uv reads its own variables, not pip's: a folder of wheels configured for pip is passed on.
if [ -n "${PIP_FIND_LINKS:-}" ]; then export UV_FIND_LINKS="$PIP_FIND_LINKS"; fi
if [ -n "${PIP_INDEX_URL:-}" ]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"; fi
# Compiled byte code: importing torch takes 2 s instead of 7 s, in every job.
export UV_COMPILE_BYTECODE=1
install() { .venv/bin/uv pip install --quiet --python .venv/bin/python "$@"; }

# torch alone, first: which build of 2.13.0 (CPU, CUDA) is the machine's choice, so it is not in the lock.
install torch==2.13.0
install --no-deps --require-hashes -r envs/requirements.lock
install --no-deps --editable .
echo "$wanted" > "$stamp"
