# The commands for people. Each installs the system packages it misses, has llama.cpp built once into the user's cache,
# builds the project and then does its work.
#
#     make                 build/llava-quantize
#     make demo            quantise the demo model, ask both pairs about three pictures, and write a report
#     make test            all tests
#     make test-arm64      the kernels for 64-bit ARM, under qemu
#     make test-avx512     the kernels for AVX-512 alone, where the CPU has it
#     make install         into PREFIX (default /usr/local), below DESTDIR
#     make bench           compare with llama-quantize, ggml's encoders, plain reading
#     make asan            all tests under AddressSanitizer and UndefinedBehaviorSanitizer
#     make tsan            all tests but those of the runtime and of slow code without threads under ThreadSanitizer
#     make valgrind        the same of the command-line tests under valgrind
#     make fuzz            each fuzzer for FUZZ_SECONDS
#     make rules           the rules of the house: rooms, headers, lengths, names, clang-format, clang-tidy, cppcheck
#     make coverage        lines that the tests run, per file and in total
#     make clean           remove what was built here (the cache stays)
#
# JOBS=N runs so many tests at once (default: as many as there are processors).
# LQ_LLAMA_ROOT=PREFIX uses an installed llama.cpp of exactly the pinned version instead of the cache.

PREFIX = /usr/local
DESTDIR =
FUZZ_SECONDS = 600
LQ_LLAMA_ROOT =
BUILD = build
BENCH_FLAGS =
JOBS = $(shell nproc)

# Where llama.cpp's own tools are: with LQ_LLAMA_ROOT if it has them, else in the cache.
LLAMA_TOOLS = $(if $(and $(LQ_LLAMA_ROOT),$(wildcard $(LQ_LLAMA_ROOT)/bin/llama-mtmd-cli)),$(LQ_LLAMA_ROOT),$\
	$$(third_party/llama.sh tools))
PYTHON = $(firstword $(wildcard /usr/bin/python3) python3)

.PHONY: all demo test test-arm64 test-avx512 install bench asan tsan valgrind fuzz rules coverage clean
.NOTPARALLEL:

all:
	@tools/packages.sh build
	@tools/build.sh $(BUILD) "$(LQ_LLAMA_ROOT)" llava-quantize

demo: all
	@tools/demo.sh $(BUILD)

test:
	@tools/packages.sh build test
	@tools="$(LLAMA_TOOLS)" && tools/build.sh $(BUILD) "$(LQ_LLAMA_ROOT)" all -DBUILD_TESTING=ON -DLQ_LLAMA_TOOLS="$$tools"
	@ctest -j$(JOBS) --test-dir $(BUILD) -LE lint --output-on-failure

test-arm64:
	@tools/packages.sh build arm64
	@cmake -S tests/codec -B $(BUILD)-arm64 -G Ninja -DCMAKE_TOOLCHAIN_FILE=$(CURDIR)/cmake/arm64.cmake \
		-DLQ_WERROR="$${LQ_WERROR:-OFF}" >/dev/null
	@cmake --build $(BUILD)-arm64
	@ctest --test-dir $(BUILD)-arm64 --output-on-failure

test-avx512:
	@tools/packages.sh build test
	@tools/build.sh $(BUILD) "$(LQ_LLAMA_ROOT)" checkasm -DBUILD_TESTING=ON
	@$(BUILD)/tests/codec/checkasm --only avx512 || [ $$? = 77 ]

install:
	@tools/packages.sh build
	@tools/build.sh $(BUILD) "$(LQ_LLAMA_ROOT)" installed
	@DESTDIR="$(DESTDIR)" cmake --install $(BUILD) --prefix "$(PREFIX)"

bench:
	@tools/packages.sh build test
	@tools="$(LLAMA_TOOLS)" && tools/build.sh $(BUILD) "$(LQ_LLAMA_ROOT)" bench -DBUILD_TESTING=ON -DLQ_LLAMA_TOOLS="$$tools"
	@tools="$(LLAMA_TOOLS)" && LQ_BIN=$(BUILD)/llava-quantize LQ_LLAMA_BIN="$$tools/bin" \
		$(PYTHON) -B tests/bench/run.py $(BENCH_FLAGS)
	@LQ_BIN=$(BUILD)/llava-quantize $(PYTHON) -B tests/bench/codec.py
	@LQ_BIN=$(BUILD)/llava-quantize $(PYTHON) -B tests/bench/verify.py
	@LQ_BUILD=$(BUILD) $(PYTHON) -B tests/bench/calibrate.py $(BUILD)/gathering
	@$(BUILD)/tests/bench_feedback
	@LQ_BIN=$(BUILD)/llava-quantize LQ_LLAMA_BIN="$(LLAMA_TOOLS)/bin" $(PYTHON) -B tests/bench/encoding.py $(BUILD)/quality
	@LQ_BIN=$(BUILD)/llava-quantize LQ_LLAMA_BIN="$(LLAMA_TOOLS)/bin" $(PYTHON) -B tests/bench/quality.py $(BUILD)/quality
	@LQ_BIN=$(BUILD)/llava-quantize LQ_LLAMA_BIN="$(LLAMA_TOOLS)/bin" $(PYTHON) -B tests/bench/calibrated.py \
		$(BUILD)/calibrated
	@LQ_BIN=$(BUILD)/llava-quantize LQ_LLAMA_BIN="$(LLAMA_TOOLS)/bin" $(PYTHON) -B tests/bench/strategy.py \
		$(BUILD)/strategy

asan:
	@tools/packages.sh build test
	@tools="$(LLAMA_TOOLS)" && tools/build.sh $(BUILD)-asan "$(LQ_LLAMA_ROOT)" all -DBUILD_TESTING=ON \
		-DLQ_LLAMA_TOOLS="$$tools" -DLQ_SANITIZE=address,undefined
	@ctest -j$(JOBS) --test-dir $(BUILD)-asan -LE lint --output-on-failure

tsan:
	@tools/packages.sh build test
	@tools/build.sh $(BUILD)-tsan "$(LQ_LLAMA_ROOT)" all -DBUILD_TESTING=ON -DLQ_SANITIZE=thread
	@ctest -j$(JOBS) --test-dir $(BUILD)-tsan -LE 'runtime|threadless|lint' --output-on-failure

valgrind:
	@tools/packages.sh build test valgrind
	@tools/build.sh $(BUILD) "$(LQ_LLAMA_ROOT)" installed -DBUILD_TESTING=ON
	@LQ_WRAPPER=$(CURDIR)/tools/valgrind/llava-quantize \
		ctest -j$(JOBS) --test-dir $(BUILD) -L cli -LE 'runtime|rules' --output-on-failure

rules:
	@tools/packages.sh build test rules
	@tools/build.sh $(BUILD) "$(LQ_LLAMA_ROOT)" installed -DBUILD_TESTING=ON
	@ctest --test-dir $(BUILD) -L rules --output-on-failure

coverage:
	@tools/packages.sh build test
	@tools="$(LLAMA_TOOLS)" && tools/build.sh $(BUILD)-coverage "$(LQ_LLAMA_ROOT)" all -DBUILD_TESTING=ON \
		-DLQ_LLAMA_TOOLS="$$tools" -DCMAKE_BUILD_TYPE=Debug "-DCMAKE_C_FLAGS=--coverage -fprofile-update=atomic"
	@find $(BUILD)-coverage -name '*.gcda' -delete
	@ctest -j$(JOBS) --test-dir $(BUILD)-coverage -LE lint --output-on-failure
	@tools/coverage.sh $(BUILD)-coverage

fuzz:
	@tools/packages.sh build test fuzz
	@tools/build.sh $(BUILD)-fuzz "$(LQ_LLAMA_ROOT)" fuzzers -DBUILD_TESTING=ON -DLQ_FUZZ=ON \
		-DLQ_FUZZ_SECONDS=$(FUZZ_SECONDS) -DLQ_SANITIZE=address,undefined \
		-DCMAKE_C_COMPILER=clang -DCMAKE_CXX_COMPILER=clang++
	@ctest -j$(JOBS) --test-dir $(BUILD)-fuzz -L fuzz --output-on-failure

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-coverage $(BUILD)-fuzz $(BUILD)-arm64
