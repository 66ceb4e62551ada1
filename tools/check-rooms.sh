#!/usr/bin/env bash
# Checks the order of the rooms, given first to last: a room includes only itself and rooms before it, and only
# `runtime` includes llama.h and mtmd.h; cli/ and examples/ include public headers and their own only; no two files of
# the library have the same name. Prints each include and name that breaks the rule.
#
#     tools/check-rooms.sh base codec source ...
set -euo pipefail
shopt -s nullglob

cd "$(dirname "${BASH_SOURCE[0]}")/.."
wrong=0
known=
for room in "$@"; do
    known="$known $room"
    headers=("src/$room"/*.[ch])
    [ ! -e "include/llava_quantize/$room.h" ] || headers+=("include/llava_quantize/$room.h")
    while IFS=: read -r file line include; do
        used=${include#*\"}
        used=${used#llava_quantize/}
        used=${used%%[/.\"]*}
        case " $* " in *" $used "*) ;; *) continue ;; esac # a header beside the file
        case "$known " in
        *" $used "*) ;;
        *) echo "$file:$line: room '$room' includes '$used', which comes after it" && wrong=1 ;;
        esac
    done < <(grep -n '^#include "' "${headers[@]}" /dev/null)
done
while IFS=: read -r file line include; do
    echo "$file:$line: only room 'runtime' may use llama.cpp's C API: $include" && wrong=1
done < <(grep -rnE '^#include [<"](llama|mtmd)[a-z-]*\.h' src cli include | grep -v '^src/runtime/')
while IFS=: read -r file line include; do
    own=${file%/*}/${include#*\"}
    [ -e "${own%\"}" ] || { echo "$file:$line: only public headers may be used here: $include" && wrong=1; }
done < <(grep -rn '^#include "' cli examples | grep -v '#include "llava_quantize')
while IFS= read -r name; do
    echo "two files are called $name:" src/*/"$name" && wrong=1
done < <(basename -a src/*/*.[ch] | sort | uniq -d)
exit $wrong
