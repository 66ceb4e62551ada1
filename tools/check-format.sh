#!/usr/bin/env bash
# Checks that every C file is formatted by the committed .clang-format; with `fix`, formats what is not. Versions of
# clang-format differ in small things: 14 is the one that counts.
#
#     tools/check-format.sh [fix]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
format=$(command -v clang-format-14 || command -v clang-format) ||
    { echo "clang-format is missing; 'make rules' installs it" >&2; exit 1; }
mode=(--dry-run -Werror)
[ "${1:-}" != fix ] || mode=(-i)
find include src cli examples tests tools -name '*.[ch]' -print0 | xargs -0 "$format" "${mode[@]}"
