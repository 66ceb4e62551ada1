#!/usr/bin/env bash
# Checks that every header compiles alone, public and private ones. tests/cli/test_library.py does the same for the
# installed headers in C++.
#
#     tools/check-headers.sh COMPILER [FLAG...]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
wrong=0
# What is included once for each instruction set, and the lanes that demand its flags: they say so in their first lines.
readonly kernels="^/\* Lanes of floats|^/\* The text of the kernels|^ \* Part of the kernels' text"
while IFS= read -r path; do
    ! grep -qE "$kernels" "$path" || continue
    header=${path#*/}
    "$@" -std=c11 -Wall -Wextra -Werror -fsyntax-only -Iinclude -Isrc -Icli -Itests/unit -Itests/fuzz -x c - \
        <<<"#include \"$header\"" || { echo "$header does not compile alone" && wrong=1; }
done < <(find include src cli -name '*.h' | sort)
exit $wrong
