"""`--fit` and `--device`: a plan's files and what llama.cpp's own client takes beside them stay within the memory."""
import json
import os
import re
import subprocess
import unittest

from harness import CliTest

CLIENT = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-mtmd-cli")
TYPES = ["--types", "q4_k,q8_0", "--effort", "fast"]  # few, because each is tried
# Not CPU_REPACK: what is repacked for the CPU lies in the mapped file too, of which no page is then read again.
SIZE = re.compile(r" CPU(?:_Mapped)? +(KV|compute|output|model) buffer size = +([\d.]+) MiB|model size: +([\d.]+) MiB")
STEP = 0.01 * 2**20  # of what the client tells


class Fit(CliTest):
    def setUp(self):
        super().setUp()
        self.check(["convert", "demo/model", "f16", "--quiet"])

    def plan(self, *arguments):
        return json.loads(self.check(["plan", "f16", *arguments, *TYPES, "--json", "--quiet"]).out)

    def reported(self, folder, context):
        """Bytes that the client allocates: {"KV": ..., "compute": ..., "output": ..., "model": ...}."""
        (language,) = (n for n in os.listdir(self.path(folder)) if not n.startswith("mmproj"))
        done = subprocess.run([CLIENT, "-m", f"{folder}/{language}", "--mmproj", f"{folder}/mmproj-{language}", "-c",
                               str(context), "-t", "1", "-n", "1", "--fit", "off", "--image", "demo/exam/00000.png", "-p", "a",
                               "--chat-template", "vicuna", "-v"], cwd=self.dir, capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, check=True)
        found = dict.fromkeys(("KV", "compute", "output", "model"), 0)
        for kind, size, vision in SIZE.findall(done.stdout + done.stderr):
            found[kind or "model"] += float(size or vision) * 2**20
        return found

    @unittest.skipUnless(os.access(CLIENT, os.X_OK), f"no llama-mtmd-cli ('{CLIENT}'); LQ_LLAMA_BIN names its folder")
    def test_the_client_takes_what_was_foretold(self):
        memory, context = 16500000, 768
        said = self.plan("--fit", "16.5M", "--context", context, "-o", "plan.json")
        fit = said["fit"]
        self.assertEqual((fit["memory"], fit["context"]), (memory, context))
        beside = sum(fit[part] for part in ("tokens", "language", "vision", "output"))
        self.assertLessEqual(said["plan"]["bytes"] + beside, memory)
        self.assertGreater(said["plan"]["bytes"] + beside, 0.99 * memory, "memory is left over")
        self.check(["quantize", "f16", "out", "--plan", "plan.json", "--effort", "fast", "--quiet"])
        self.assertEqual(sum(os.path.getsize(self.path("out", n)) for n in os.listdir(self.path("out"))),
                         said["plan"]["bytes"])
        found = self.reported("out", context)
        self.assertAlmostEqual(fit["tokens"], found["KV"], delta=2 * STEP)
        self.assertAlmostEqual(fit["language"] + fit["vision"], found["compute"], delta=3 * STEP)
        self.assertAlmostEqual(fit["output"], found["output"], delta=2 * STEP)
        self.assertLessEqual(sum(found.values()), memory)
        self.assertGreater(found["model"], 0.9 * said["plan"]["bytes"], "the client told of both halves")

    def test_a_longer_context_leaves_less(self):
        short, long = (self.plan("--fit", "17.5M", "--context", n) for n in (256, 1024))
        self.assertEqual(long["fit"]["tokens"] // short["fit"]["tokens"], 3, "4, less rounding up")
        self.assertLess(long["plan"]["bytes"], short["plan"]["bytes"])

    def test_quantize_and_a_folder_of_hugging_face(self):
        said = json.loads(self.check(["plan", "demo/model", "--fit", "17M", "-o", "plan.json", "--json", "--quiet", *TYPES]).out)
        self.assertEqual(said["fit"]["context"], 1024, "the model's own")
        self.check(["quantize", "demo/model", "out", "--fit", "17M", "--quiet", *TYPES])
        self.check(["quantize", "demo/model", "again", "--plan", "plan.json", "--effort", "fast", "--quiet"])
        for name in os.listdir(self.path("out")):
            self.check_same_files(self.path("out", name), self.path("again", name))
        self.assertEqual([n for n in os.listdir(self.dir) if n.startswith(".")], [])

    def test_presets_are_options_that_give_way(self):
        said = self.plan("--device", "cuda-8g", "--target-size", "6M")
        self.assertNotIn("fit", said)
        said = self.plan("--device", "cuda-8g", "--fit", "17M")
        self.assertEqual(said["fit"]["memory"], 17000000)

    def test_refusals(self):
        plan = ["plan", "f16"]
        self.check_refused([*plan, "--fit", "5M", *TYPES],
                           "4.8 MiB do not hold what llama.cpp takes beside the weights, 12.1 MiB at a context of 1024 "
                           "tokens (tokens 4.0, language half 7.5, vision half 0.6, output 0.0): give more memory or a "
                           "smaller context", code=2)
        for arguments, message in [
                (["--device", "pi-8g"], "unknown device 'pi-8g' (did you mean 'pi5-8g'?)"),
                (["--device", "x"], "unknown device 'x'"),
                (["--fit", "9M", "--target-bpw", "4"],
                 "--target-size, --target-bpw, --max-kld and --fit contradict each other"),
                (["--target-bpw", "4", "--context", "9"], "--context is what --fit leaves room for: give --fit or --device"),
                (["--fit", "0M"],
                 "--fit: '0M' is not a size such as 500M or 2G (millions or thousand millions of bytes)")]:
            with self.subTest(message):
                self.check([*plan, *arguments], code=2, out="", err=re.compile(rf"\Allava-quantize: {re.escape(message)}"))
        os.mkdir(self.path("half"))
        os.rename(self.path("f16/model-F16.gguf"), self.path("half/model-F16.gguf"))
        self.check_refused(["plan", "half/model-F16.gguf", "--fit", "17M", *TYPES],
                           "half/model-F16.gguf: has no vision half: --fit counts the whole pair", code=2)


if __name__ == "__main__":
    unittest.main()
