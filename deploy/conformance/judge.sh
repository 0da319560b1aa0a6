#!/usr/bin/env bash
# What the action runs: the command, the summary of the run, the exit code as an output.
set -uo pipefail
set -f # a pattern after --only is for the command, not for the shell

options=()
[[ -n ${MODEL:-} ]] && options+=(--model "$MODEL")
[[ -n ${EMBEDDING_MODEL:-} ]] && options+=(--embedding-model "$EMBEDDING_MODEL")
for profile in ${PROFILES:-}; do options+=(--profile "$profile"); done
# shellcheck disable=SC2206  # several options in one input
options+=(${ARGUMENTS:-})

specserve conform "$BASE_URL" --report "$REPORT" "${options[@]}"
status=$?
[[ -n ${GITHUB_STEP_SUMMARY:-} && -f $REPORT/summary.md ]] && cat "$REPORT/summary.md" >>"$GITHUB_STEP_SUMMARY"
[[ -n ${GITHUB_OUTPUT:-} ]] && echo "exit-code=$status" >>"$GITHUB_OUTPUT"
exit "$status"
