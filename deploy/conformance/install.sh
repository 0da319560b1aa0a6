#!/usr/bin/env bash
# Installs the kit: what `version` names, or the one that the action came with, in the versions that its tests ran with.
set -euo pipefail

if [[ -n ${VERSION:-} ]]; then
    python -m pip install --quiet "$VERSION"
else
    root=$(cd "$GITHUB_ACTION_PATH/../.." && pwd)
    python -m pip install --quiet --constraint "$root/constraints.txt" "$root[conformance]"
fi
