#!/usr/bin/env bash
# Installs the system packages that a task needs and this machine misses: says what and why first, then calls apt-get.
#
#     tools/packages.sh build|test|fuzz|rules|valgrind|arm64...
#
# What is missing is found by trying it, so that a second run is instant and other systems only get told what they lack.
set -euo pipefail

python=/usr/bin/python3
[ -x $python ] || python=python3

# task | Debian package | what it is for | how to see that it is there
needs=$(cat <<'END'
build|gcc|compiles the project|cc --version
build|g++|compiles llama.cpp|c++ --version
build|libc6-dev|the C library to compile against|echo "int main(void) { return 0; }" | cc -x c -o /dev/null -
build|cmake|configures the build|cmake --version
build|ninja-build|runs the build|ninja --version
build|pkg-config|finds libraries|pkg-config --version
build|libjansson-dev|reads and writes JSON|pkg-config jansson
build|libxxhash-dev|hashes model data|pkg-config libxxhash
build|libssl-dev|computes SHA-256 sums|pkg-config libcrypto
build|libopenblas-dev|multiplies matrices|pkg-config openblas
build|python3|downloads llama.cpp, runs tests|$python --version
build|python3-venv|downloads llama.cpp in an environment of its own|$python -c "import venv, ensurepip"
build|ca-certificates|checks who the download comes from|test -e /etc/ssl/certs/ca-certificates.crt
test|libcmocka-dev|runs the unit tests|pkg-config cmocka
test|python3-numpy|makes models for the tests|$python -c "import numpy"
test|mandoc|checks the manual pages|command -v mandoc
test|zsh|tests its completion|zsh --version
test|libsimde-dev|runs AVX-512 kernels on CPUs without it|echo "#include <simde/x86/avx512.h>" | cc -E -o /dev/null -
arm64|gcc-aarch64-linux-gnu|compiles for 64-bit ARM|aarch64-linux-gnu-gcc --version
arm64|libc6-dev-arm64-cross|the C library to compile against|echo "int main(void) { return 0; }" | aarch64-linux-gnu-gcc -static -x c -o /dev/null -
arm64|qemu-user|runs what was compiled for it|qemu-aarch64 --version
fuzz|clang|compiles the fuzzers|clang --version
rules|clang-format|checks the layout of the source|clang-format --version
rules|clang-tidy|looks for bugs in the source|command -v run-clang-tidy
rules|cppcheck|looks for bugs in the source|cppcheck --version
valgrind|valgrind|watches the program's memory|valgrind --version
END
)
readonly needs

# Prints "package (what it is for)" for each need of task $1 that is not met.
missing() {
    local task package purpose probe
    while IFS='|' read -r task package purpose probe; do
        if [ "$task" = "$1" ] && ! eval "$probe" >/dev/null 2>&1; then echo "$package ($purpose)"; fi
    done <<<"$needs"
}

# Clang's runtime is a package of its own, named after clang's version, on newer systems.
missing_fuzz_runtime() {
    if ! echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return d && n < 0; }' |
        clang -x c -fsanitize=fuzzer,address -o /dev/null - 2>/dev/null; then
        echo "libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev (runs the fuzzers)"
    fi
}

# The report is looked at in Chromium. Ubuntu's package is a stub for a snap, which containers cannot run; there, and
# where it cannot be installed, those tests report themselves skipped.
install_browser() {
    command -v chromium >/dev/null && return
    grep -qx 'ID=debian' /etc/os-release 2>/dev/null || return 0
    (install "chromium (looks at the report)") || echo "Going on without a browser."
}

# Installs what the lines "package (purpose)" in $1 name.
install() {
    local packages sudo=
    [ -n "$1" ] || return 0
    echo "These system packages are missing:"
    echo "$1" | sed 's/^/  /'
    packages=$(echo "$1" | cut -d' ' -f1)
    if ! command -v apt-get >/dev/null; then
        echo "This system has no apt-get: please install them, then run the command again." >&2
        exit 1
    fi
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || { echo "Please run as root: apt-get install" $packages >&2; exit 1; }
        sudo=sudo
    fi
    echo "Installing them with ${sudo:+sudo }apt-get."
    $sudo apt-get -qq update
    # shellcheck disable=SC2086 # one word per package
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $packages >/dev/null
}

for task in "$@"; do
    install "$(missing "$task")"
    [ "$task" != test ] || install_browser
    [ "$task" != fuzz ] || install "$(missing_fuzz_runtime)"
    still=$(missing "$task")
    [ -z "$still" ] || { echo "Installed, but still not usable: $still" >&2; exit 1; }
done
