"""What `make install` copies runs by itself on any x86-64: nothing of it comes from the build folder or the cache."""
import glob
import os
import re
import subprocess
import unittest

from harness import BUILD, CliTest, DEMO, cache_entry


def uses_avx(path):
    """Whether a library or object file holds an instruction of AVX or later."""
    listing = subprocess.run(["objdump", "-d", "--no-show-raw-insn", path], capture_output=True, text=True, check=True)
    return re.search(r"\tv\w+\s.*%[xyz]mm", listing.stdout) is not None


@unittest.skipUnless(cache_entry("LQ_BUNDLE_LLAMA") == "ON", "llama.cpp is not bundled in this build")
class Install(CliTest):
    @classmethod
    def setUpClass(cls):
        cls.llama = cache_entry("LQ_LLAMA_ROOT")

    def setUp(self):
        super().setUp()
        env = self.environment(DESTDIR=self.path("root"))
        subprocess.run(["cmake", "--install", BUILD, "--prefix", "/usr"], env=env, check=True, capture_output=True)
        self.program = self.path("root", "usr", "bin", "llava-quantize")
        self.libraries = self.path("root", "usr", "lib", "llava-quantize")

    def loaded(self, *args):
        """Runs the installed program; returns its output and the shared objects that it loaded."""
        env = self.environment(LD_DEBUG="files", LD_DEBUG_OUTPUT=self.path("loaded"))
        done = subprocess.run([self.program, *args], cwd=self.dir, env=env, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        objects = set()
        for log in glob.glob(self.path("loaded.*")):
            with open(log, encoding="utf-8") as f:
                objects |= {os.path.normpath(o) for o in re.findall(r"calling init: (\S+)", f.read())}
            os.unlink(log)
        return done.stdout, objects

    def test_runs_without_build_and_cache(self):
        out, _ = self.loaded("version")
        self.assertIn("llava-quantize", out)
        self.loaded("demo/model", "small", "q8_0")
        picture = os.path.join(DEMO, "exam", "00003.png")
        answer, objects = self.loaded("ask", "small", picture, "How many objects are there?")
        self.assertTrue(answer.strip())
        own = {os.path.basename(o).split(".so")[0] for o in objects if o.startswith(self.libraries)}
        self.assertLessEqual({"libllama", "libmtmd", "libggml", "libggml-base"}, own)
        self.assertTrue(any(name.startswith("libggml-cpu") for name in own), own)
        for forbidden in (self.llama, BUILD):
            self.assertFalse([o for o in objects if o.startswith(forbidden)], f"loaded from {forbidden}")

    def test_base_is_plain_x86_64(self):
        if os.uname().machine != "x86_64":
            self.skipTest("not x86-64")
        for name in ("libllama", "libmtmd", "libggml", "libggml-base"):
            self.assertFalse(uses_avx(os.path.join(self.libraries, name + ".so")), name)
        objects = glob.glob(os.path.join(BUILD, "CMakeFiles", "l*.dir", "**", "*.c.o"), recursive=True)
        self.assertTrue(objects)
        found = {os.path.basename(o) for o in objects if uses_avx(o)}
        self.assertTrue(found, "no kernel uses AVX: the search for it is broken")
        self.assertFalse([o for o in found if "_avx" not in o], "only kernels chosen at run time may use AVX")

    def test_every_cpu_has_its_module(self):
        modules = {os.path.basename(m) for m in glob.glob(os.path.join(self.libraries, "libggml-cpu*.so"))}
        if os.uname().machine == "x86_64":
            self.assertLessEqual({"libggml-cpu-x64.so", "libggml-cpu-haswell.so", "libggml-cpu-skylakex.so"}, modules)
        self.assertTrue(modules)


if __name__ == "__main__":
    unittest.main()
