#!/usr/bin/env bash
# Runs cppcheck over the library, the program, the examples and the manual; prints each finding.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# internalAstError: cppcheck 2.10 cannot read &(float){a ? b : c}. invalidPointerCast: fields found by their offset.
# invalidFunctionArg: takes a sum over a vocabulary, which is never empty, for 0.
cppcheck -q -j"$(nproc)" --std=c11 --language=c --enable=warning,performance,portability --inline-suppr \
    --suppress=internalAstError --suppress=invalidPointerCast --suppress=invalidFunctionArg --error-exitcode=1 \
    -Iinclude -Isrc -D_GNU_SOURCE -DLQ_VERSION='""' src cli examples tools/manual
