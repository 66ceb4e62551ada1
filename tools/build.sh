#!/usr/bin/env bash
# Configures and builds the project: FOLDER, the prefix of an installed llama.cpp (empty: the cached one, made if it is
# missing), the target, and more flags for CMake. Prints the configuration only when it fails.
#
#     tools/build.sh build "" llava-quantize
#     tools/build.sh build-asan "" all -DLQ_SANITIZE=address,undefined
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly folder=$1 target=$3
flags=(-DLQ_LLAMA_ROOT="$2")
if [ -z "$2" ]; then
    llama=$(third_party/llama.sh libs)
    flags=(-DLQ_LLAMA_ROOT="$llama" -DLQ_BUNDLE_LLAMA=ON)
fi
# Warnings stop the build only where LQ_WERROR=ON asks for it, as CI does: a newer compiler must not keep users out.
flags+=(-DLQ_WERROR="${LQ_WERROR:-OFF}")
if [ ! -e "$folder/CMakeCache.txt" ]; then
    flags+=(-G Ninja -DBUILD_TESTING=OFF)
fi
mkdir -p "$folder"
cmake -S . -B "$folder" "${flags[@]}" "${@:4}" >"$folder/configure.log" 2>&1 || {
    cat "$folder/configure.log" >&2
    exit 1
}
cmake --build "$folder" --target "$target"
