#!/usr/bin/env bash
# Write envs/requirements.lock from envs/requirements.in: exact versions and hashes, no address of any index.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -n "${PIP_FIND_LINKS:-}" ]; then export UV_FIND_LINKS="$PIP_FIND_LINKS"; fi
.venv/bin/uv pip compile envs/requirements.in --overrides envs/overrides.txt --python-version 3.11 --quiet \
  --no-annotate --no-header --generate-hashes --no-emit-package torch --no-emit-package setuptools \
  --no-emit-index-url --no-emit-find-links --output-file envs/requirements.lock "$@"
