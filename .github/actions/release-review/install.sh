#!/usr/bin/env bash
# The environment of a review, from the project's pinned requirements: made once, and again after they
# changed. Reads RELEASE_REVIEW_VENV (default: .venv of the project), RELEASE_REVIEW_BASE_PYTHON (default:
# python3) and RELEASE_REVIEW_EXTRAS, such as `postgres,prices`.
set -euo pipefail

project=$(cd "$(dirname "${BASH_SOURCE[0]}")/../../.." && pwd)
venv=${RELEASE_REVIEW_VENV:-$project/.venv}
base=${RELEASE_REVIEW_BASE_PYTHON:-python3}
extras=${RELEASE_REVIEW_EXTRAS:-}

if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "error: $base is older than Python 3.11" >&2
  exit 2
fi
if [ -n "$extras" ] && ! [[ $extras =~ ^[a-z]+(,[a-z]+)*$ ]]; then
  echo "error: extras: expected names such as postgres,prices" >&2
  exit 2
fi

# The stamp of `make review`: who has its environment needs no other.
stamp=$venv/.review
if [ ! -e "$stamp" ] || [ "$project/requirements.txt" -nt "$stamp" ] \
  || [ "$project/constraints.txt" -nt "$stamp" ]; then
  "$base" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$project/requirements.txt"
  touch "$stamp"
fi
if [ -n "$extras" ]; then
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -c "$project/constraints.txt" "${project}[$extras]"
fi

if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'python=%s\n' "$venv/bin/python" >>"$GITHUB_OUTPUT"
fi
