#!/usr/bin/env bash
# Prints which share of the lines the tests ran, for each file of the library and the program and in total, and leaves
# FILE.gcov listings, in which "#####" marks what never ran, in FOLDER/coverage.
#
#     tools/coverage.sh build-coverage
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(cd "$1" && pwd)
mkdir -p "$folder/coverage"
cd "$folder/coverage"
find "$folder/CMakeFiles" -name '*.c.gcno' -path '*/src/*' -o -name '*.c.gcno' -path '*/cli/*' | sort | while read -r notes; do
    gcov "$notes" 2>/dev/null
done | awk -v root="$root/" '
    /^File / { file = $0; gsub(/^File .|.$/, "", file); sub(root, "", file) }
    /^Lines executed:/ && file ~ /^(src|cli)\/.*\.c$/ {
        split($2, share, /[:%]/)
        printf "%7.2f %% of %4d  %s\n", share[2], $4, file
        lines += $4
        ran += $4 * share[2] / 100
    }
    { if ($0 !~ /^File /) file = "" }
    END { printf "%7.2f %% of %4d  in total\n", 100 * ran / lines, lines }'
