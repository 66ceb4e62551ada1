"""The installed library as other programs use it: headers, pkg-config, CMake, exported names; and what a library must
not do: keep state, print, end the process."""
import glob
import os
import re
import shlex
import signal
import subprocess
import tempfile
import time
import unittest

from harness import BUILD, CliTest, DEMO, PROJECT, SANITIZE, cache_entry

BUILD_FLAGS = cache_entry("CMAKE_C_FLAGS").split() + ([f"-fsanitize={SANITIZE}"] if SANITIZE else [])
EXAMPLES = os.path.join(PROJECT, "examples")

# Writable data in the library, and why each is harmless.
WRITABLE = {
    "tables": "the kernels this machine has: set once, under `once`",
    "chosen": "the best of them: set once, under `once`",
    "once": "pthread_once_t",
    "current": "who receives llama.cpp's log lines in this thread: thread-local, only while a call lasts",
}
FORBIDDEN = {"exit", "_exit", "_Exit", "quick_exit", "abort", "printf", "vprintf", "puts", "putchar", "perror",
             "__printf_chk", "__vprintf_chk", "stdout", "stderr", "stdin", "signal", "sigaction", "setlocale", "chdir",
             "umask", "setenv", "__assert_fail"}


def output(*command, **more):
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)
    if done.returncode != 0:
        raise AssertionError(f"{shlex.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


class Installed(CliTest):
    """One installation for all tests."""
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="lq-library-")
        cls.addClassCleanup(folder.cleanup)
        cls.prefix = os.path.join(folder.name, "usr")
        output("cmake", "--install", BUILD, "--prefix", cls.prefix)
        cls.lib = os.path.join(cls.prefix, "lib")
        cls.headers = sorted(glob.glob(os.path.join(cls.prefix, "include", "**", "*.h"), recursive=True))
        cls.cc = cache_entry("CMAKE_C_COMPILER")
        cls.cxx = cache_entry("CMAKE_CXX_COMPILER")

    def pkg_config(self, *args):
        env = self.environment(PKG_CONFIG_PATH=os.path.join(self.lib, "pkgconfig"))
        return shlex.split(output("pkg-config", *args, "llava_quantize", env=env))


class Headers(Installed):
    def test_each_compiles_alone(self):
        self.assertGreater(len(self.headers), 7)
        include = "-I" + os.path.join(self.prefix, "include")
        strict = ["-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
        for header in self.headers:
            line = f'#include "{os.path.relpath(header, os.path.join(self.prefix, "include"))}"\n'
            for compiler, flags in ((self.cc, ["-x", "c", "-std=c11"]), (self.cxx, ["-x", "c++", "-std=c++11"])):
                with self.subTest(header=line.strip(), compiler=compiler):
                    output(compiler, *flags, *strict, include, "-", input=line)

    def test_umbrella_holds_every_header(self):
        with open(os.path.join(self.prefix, "include", "llava_quantize.h"), encoding="utf-8") as f:
            included = set(re.findall(r'#include "(.*)"', f.read()))
        self.assertEqual(included, {"llava_quantize/" + os.path.basename(h) for h in self.headers} -
                         {"llava_quantize/llava_quantize.h"})

    @unittest.skipIf(SANITIZE, "sanitizers add symbols")
    def test_exports_are_the_declarations(self):
        source = self.path("all.c")
        with open(source, "w", encoding="utf-8") as f:
            f.write("#include <llava_quantize.h>\n")
        output("gcc", "-aux-info", self.path("all.aux"), "-fsyntax-only", source, *self.pkg_config("--cflags"))
        with open(self.path("all.aux"), encoding="utf-8") as f:
            declared = set(re.findall(r"^/\* \S*llava_quantize/\S+ \*/ extern .*?\b(lq_\w+) \(", f.read(), re.MULTILINE))
        names = output("nm", "-D", "--defined-only", os.path.join(self.lib, "libllava_quantize.so"))
        exported = dict(re.findall(r" T (\w+)@@(\S+)$", names, re.MULTILINE))
        self.assertEqual(set(exported), declared)
        self.assertEqual(set(exported.values()), {"LLAVA_QUANTIZE_0.1"})
        self.assertFalse(re.findall(r" [^TA] \w+.*", names), "data or unversioned names are exported")

    def test_soname(self):
        dynamic = output("readelf", "-d", os.path.join(self.lib, "libllava_quantize.so"))
        self.assertIn("soname: [libllava_quantize.so.0]", dynamic)


class Examples(Installed):
    def run_examples(self, quantize, inspect):
        written = output(quantize, os.path.join(DEMO, "model"), self.path("out"), "q8_0", cwd=self.dir).split()
        self.assertEqual(len(written), 2)
        self.check(["demo/model", "expected", "q8_0", "--quiet"])
        for path in written:
            self.check_same_files(path, self.path("expected", os.path.basename(path)))
        listing = output(inspect, self.path("out"), cwd=self.dir)
        self.assertRegex(listing, r"(?m)^  vision\.ffn\.up +\d+ tensors +\d+ bytes$")
        self.assertRegex(listing, r"(?m)^  language\.embedding +1 tensors +\d+ bytes$")

    def compile(self, name, *flags):
        program = self.path(name)
        strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-D_POSIX_C_SOURCE=200809L"]
        output(self.cc, *strict, *BUILD_FLAGS, os.path.join(EXAMPLES, name + ".c"), "-o", program, *flags)
        return program

    def test_pkg_config_shared(self):
        flags = self.pkg_config("--cflags", "--libs") + ["-Wl,-rpath," + self.lib]
        self.run_examples(self.compile("quantize", *flags), self.compile("inspect", *flags))

    def test_pkg_config_static(self):
        flags = [f if f != "-lllava_quantize" else "-l:libllava_quantize.a"
                 for f in self.pkg_config("--static", "--cflags", "--libs")]
        program = self.compile("quantize", *flags)
        self.assertNotIn("libllava_quantize", output("readelf", "-d", program))
        self.run_examples(program, self.compile("inspect", *flags))

    def test_cmake(self):
        output("cmake", "-S", EXAMPLES, "-B", self.path("build"), f"-DCMAKE_PREFIX_PATH={self.prefix}",
               f"-DCMAKE_C_COMPILER={self.cc}", f"-DCMAKE_C_FLAGS={' '.join(BUILD_FLAGS)}")
        output("cmake", "--build", self.path("build"))
        self.run_examples(self.path("build", "quantize"), self.path("build", "inspect"))

    def test_cmake_static(self):
        project = self.path("static")
        os.mkdir(project)
        with open(os.path.join(project, "CMakeLists.txt"), "w", encoding="utf-8") as f:
            f.write("cmake_minimum_required(VERSION 3.22)\nproject(static LANGUAGES C)\n"
                    "find_package(llava_quantize 0.1 REQUIRED CONFIG)\n"
                    f"add_executable(inspect {EXAMPLES}/inspect.c)\n"
                    "target_link_libraries(inspect PRIVATE llava_quantize::static)\n")
        output("cmake", "-S", project, "-B", self.path("build"), f"-DCMAKE_PREFIX_PATH={self.prefix}",
               f"-DCMAKE_C_COMPILER={self.cc}", f"-DCMAKE_C_FLAGS={' '.join(BUILD_FLAGS)}")
        output("cmake", "--build", self.path("build"))
        self.assertIn("language.embedding", output(self.path("build", "inspect"), os.path.join(DEMO, "model")))

    def test_failure_is_one_message(self):
        program = self.compile("quantize", *self.pkg_config("--cflags", "--libs"), "-Wl,-rpath," + self.lib)
        done = subprocess.run([program, "missing", "out"], cwd=self.dir, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertRegex(done.stderr, r"^\nmissing: .*\n$")
        self.assertEqual(done.stdout, "")

    def test_interrupted_leaves_nothing(self):
        """A full pipe holds the program at its first report, so that the signal comes in the middle of the work."""
        program = self.compile("quantize", *self.pkg_config("--cflags", "--libs"), "-Wl,-rpath," + self.lib)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        try:
            while True:
                os.write(writer, b" " * 4096)
        except BlockingIOError:
            os.set_blocking(writer, True)
        with subprocess.Popen([program, os.path.join(DEMO, "model"), "out"], cwd=self.dir, stderr=writer) as process:
            os.close(writer)
            self.wait_for_handler(process)
            process.send_signal(signal.SIGINT)
            with os.fdopen(reader, "rb") as f:
                f.read()
        self.assertEqual(process.returncode, 1)
        self.assertEqual(sorted(os.listdir(self.dir)), ["demo", "quantize"])

    def wait_for_handler(self, process):
        caught = 0
        while not caught >> (signal.SIGINT - 1) & 1:
            self.assertIsNone(process.poll())
            time.sleep(0.01)
            with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
                caught = int(re.search(r"^SigCgt:\s*(\w+)$", f.read(), re.MULTILINE).group(1), 16)


@unittest.skipIf(SANITIZE or BUILD_FLAGS, "sanitizers and coverage add data and calls of their own")
class Archive(CliTest):
    archive = os.path.join(BUILD, "libllava_quantize.a")

    def test_no_state(self):
        symbols = re.findall(r"^\w+ .{7} (\.(?:data|bss|tdata|tbss)\S*|\*COM\*)\t\w+ (?:0x\w+ |\.hidden )?(\S+)$",
                             output("objdump", "-t", self.archive), re.MULTILINE)
        constant = ".data.rel.ro"  # pointers that the loader fills in, then write-protects
        found = {re.sub(r"\.\d+$", "", name) for section, name in symbols
                 if not section.startswith(constant) and not name.startswith(".")}
        self.assertEqual(found, set(WRITABLE), "writable data: name it with the reason, or better do without")

    def test_no_printing_no_exit(self):
        used = set(re.findall(r"^ +U (\w+)$", output("nm", self.archive), re.MULTILINE))
        self.assertIn("pread", used, "the search for names is broken")
        self.assertFalse(used & FORBIDDEN)

    def test_names_begin_with_lq(self):
        names = re.findall(r"^\w+ \w (\w+)$", output("nm", "-g", "--defined-only", self.archive), re.MULTILINE)
        self.assertGreater(len(names), 100)
        self.assertFalse([n for n in names if not n.startswith("lq_")])


if __name__ == "__main__":
    unittest.main()
