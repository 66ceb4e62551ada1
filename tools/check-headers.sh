#!/usr/bin/env bash
# Checks that every header compiles alone, public and private ones. tests/cli/test_library.py does the same for the
# installed headers in C++.
#
#     tools/check-headers.sh COMPILER [FLAG...]
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
wrong=0
while IFS= read -r header; do
    case $header in
    # The kernels' text, included once for each instruction set, each with lanes that demand flags of their own.
    codec/*_body.h | codec/lanes_*.h | codec/tile.h | codec/encode_*.h | codec/decode_*.h) continue ;;
    esac
    "$@" -std=c11 -Wall -Wextra -Werror -fsyntax-only -Iinclude -Isrc -Icli -Itests/unit -Itests/fuzz -x c - \
        <<<"#include \"$header\"" || { echo "$header does not compile alone" && wrong=1; }
done < <(find include src cli -name '*.h' | sed -E 's,^(include|src|cli)/,,' | sort)
exit $wrong
