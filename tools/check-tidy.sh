#!/usr/bin/env bash
# Runs clang-tidy with the committed .clang-tidy over the library, the program and the tools; prints each finding.
#
#     tools/check-tidy.sh BUILD-FOLDER [PATTERN]
set -euo pipefail

build=$(cd "$1" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
output=$(mktemp)
trap 'rm -f "$output"' EXIT
status=0
# error.c defines what analyser.h is about.
run-clang-tidy -quiet -j"$(nproc)" -p "$build" -extra-arg=-include"$PWD/tools/analyser.h" \
    "${2:-^$PWD/(src|cli|examples|tools)/(?!base/error\.c).*\.c$}" >"$output" 2>&1 || status=$?
grep -E '(warning|error|note): ' "$output" | sed "s|$PWD/||" || true
if [ $status != 0 ] && ! grep -q 'error: ' "$output"; then tail -5 "$output"; fi
exit $status
