"""Statistics as users put them to use: --stats, --method, --data."""
import json
import os
import signal
import subprocess
import unittest

from families import write_family
from harness import BIN, CliTest, read_bytes, snapshot
from models import read_gguf

DATA = ["--data", "demo/calibration.json"]
FEW = [*DATA, "--limit", 6, "-t", 1]


class Method(CliTest):
    def quantize(self, *args):
        return json.loads(self.check(["quantize", *args, "--json", "--quiet"], err="").out)

    def convert(self):
        self.check(["convert", "demo/model", "f16", "--quiet"])
        return "f16"

    def test_data_is_calibrate_and_stats(self):
        """In one go or in two: the same bytes, from a Hugging Face folder or from the pair that convert makes of it."""
        self.check(["calibrate", self.convert(), *FEW, "--hessian", "-o", "statistics.gguf", "--quiet"])
        self.quantize("demo/model", "two", 3, "--stats", "statistics.gguf")
        one = self.quantize("demo/model", "one", 3, *FEW)
        self.quantize("demo/model", "kept", 3, *FEW, "--save-stats", "kept.gguf")
        self.check_same_files(self.path("statistics.gguf"), self.path("kept.gguf"))
        self.quantize("demo/model", "plan", 3, "--stats", "statistics.gguf", "--save-plan", "plan.json", "--dry-run")
        planned = self.quantize("demo/model", "plan", "--stats", "statistics.gguf", "--plan", "plan.json")
        self.assertEqual(planned["pair_id"], one["pair_id"])
        for name in ("model-3bit.gguf", "mmproj-model-3bit.gguf"):
            self.check_same_files(self.path("one", name), self.path("two", name))
        self.assertEqual({name for name in os.listdir(self.dir) if name.startswith(".")}, set())
        self.assertGreater(one["feedback"]["lowered"], 0.6)
        self.assertEqual(one["feedback"]["tensors"], 55)
        methods = {e["name"]: e["method"] for e in one["plan"]}
        self.assertEqual((methods["v.blk.0.ffn_down.weight"], methods["blk.3.ffn_down.weight"], methods["output.weight"],
                          methods["token_embd.weight"]), ("feedback", "feedback", "feedback", "plain"))

    def test_feedback_answers_better(self):
        """Two bits, twenty pictures of the exam: less than half of the plain encoding's divergence."""
        kl = {}
        self.convert()
        self.check(["calibrate", "f16", *DATA, "--limit", 32, "-t", 1, "--hessian", "-o", "stats.gguf", "--quiet"])
        for method in ("plain", "imatrix", "feedback"):
            self.quantize("f16", method, 2, "--stats", "stats.gguf", "--method", method)
            out = self.check(["eval", method, "--against", "f16", "--data", "demo/exam.jsonl", "--limit", 20, "-t", 1,
                              "--json", "--quiet"]).out
            kl[method] = json.loads(out)["kl"]["answer"]["mean"]
        self.assertLess(kl["feedback"], 0.5 * min(kl["plain"], kl["imatrix"]), kl)

    def test_padded_tower(self):
        """Feed-forwards whose rows of 360 are written as 384: their second moments have 360 columns."""
        language, _ = write_family(self.path("pairs"), "grouped")
        result = self.quantize(language, "out", "q4_0", *FEW)
        down = [e for e in result["plan"] if e["role"] == "vision.ffn.down"]
        self.assertTrue(down)
        for entry in down:
            self.assertIn("padded 360 -> 384", entry["reason"])
            self.assertEqual(entry["method"], "feedback")
            self.assertLess(entry["output_error"], 0.9 * entry["output_error_plain"])
        self.check(["verify", "out", "--quiet"])

    def test_experts_and_fused_matrices(self):
        for kind, name in (("experts", "blk.0.ffn_gate_exps.weight"), ("fused", "blk.0.attn_qkv.weight")):
            with self.subTest(kind):
                language, _ = write_family(self.path("pairs"), kind)
                result = self.quantize(language, kind, "q4_0", *FEW)
                entry = next(e for e in result["plan"] if e["name"] == name)
                self.assertEqual((entry["method"], entry["rows_alone"]), ("feedback", 0))
                self.assertLess(entry["output_error"], entry["output_error_plain"])

    def test_refused(self):
        """Before any model runs: nothing but the message, and the folder as it was."""
        self.convert()
        self.check(["quantize", "f16", "q8", 8, "--quiet"])
        os.makedirs(self.path("half"))
        os.link(self.path("f16", "model-F16.gguf"), self.path("half", "model-F16.gguf"))
        self.check(["calibrate", "f16", *FEW, "-o", "means.gguf", "--quiet"])
        for args, code, message in (
                (["f16", "q8", 8, *DATA], 2, "q8/mmproj-model-8bit.gguf: already exists; --force replaces it"),
                (["q8", "out", 4, *DATA], 1, "q8: is quantised already, and --data would calibrate on its errors; start "
                 "from the original, or give --allow-requantize"),
                (["half", "out", 4, *DATA], 2, "half: has no vision half: --data runs the whole pair"),
                (["f16", "out", 4, "--stats", "means.gguf", "--method", "feedback"], 2,
                 "means.gguf: holds no second moments, which --method feedback needs; 'llava-quantize calibrate "
                 "--hessian' gathers them"),
        ):
            with self.subTest(message):
                self.check_refused(["quantize", *args], message, code=code)

    def test_wrong_use(self):
        for args, message in (
                (["--data", "d", "--stats", "s"], "--data and --stats contradict each other"),
                (["--limit", 3], "--text, --limit, --seed, --weighting, --cap and --save-stats say how to calibrate: give "
                 "--data"),
                (["--data", "d", "--dry-run"], "--dry-run runs no model: 'llava-quantize calibrate --dry-run' tells what "
                 "--data would take"),
                (["--data", "d", "--only", "vision"], "--data runs the whole pair, and --only leaves a half out"),
                (["--method", "imatrix"], "--method imatrix needs statistics: --stats FILE, or --data FILE"),
                (["--sequential"], "--sequential is error feedback on --data: it needs --data, and no other --method"),
                (["--data", "d", "--sequential", "--allow-requantize"], "--sequential changes the weights of a running "
                 "model, which a quantised one does not allow: it goes with no --allow-requantize"),
        ):
            with self.subTest(message):
                self.check_refused(["quantize", "demo/model", "out", 4, *args],
                                   message + "; see 'llava-quantize quantize --help'", code=2)

    def test_statistics_of_another_model(self):
        language, _ = write_family(self.path("pairs"), "grouped")
        self.check(["calibrate", language, *FEW, "--hessian", "-o", "other.gguf", "--quiet"])
        result = self.check(["quantize", "demo/model", "out", 4, "--stats", "other.gguf"], code=1, out="")
        self.assertRegex(result.err, r"^llava-quantize: other.gguf: tensor '.*': \d+ values, expected \d+: importance data "
                         r"of another model\n$")
        self.assertFalse(os.path.exists(self.path("out")))

    def test_memory(self):
        """Too little for the largest factor: refused by name before anything is written."""
        self.convert()
        self.check(["calibrate", "f16", *FEW, "--hessian", "-o", "stats.gguf", "--quiet"])
        before = snapshot(self.dir)
        result = self.check(["quantize", "f16", "out", 4, "--stats", "stats.gguf", "--memory", "1M"], code=1, out="")
        self.assertRegex(result.err, r"mmproj-model-F16.gguf: error feedback of tensor 'v\.blk\.\d\.ffn_down\.weight' needs \d+ MB besides "
                         r"the \d+ MB of the program, more than the memory allowed: allow at least \d+M\n")
        self.assertEqual(snapshot(self.dir), before)

    def test_sequential(self):
        """Block after block: the same bytes again, said beforehand, and recorded."""
        few = ["--data", "demo/calibration.json", "--limit", 3, "-t", 1, "--sequential"]
        first = self.check(["quantize", "demo/model", "a", 3, *few])
        self.assertIn("block after block: 10 times all data through both models\n", first.err)
        second = self.quantize("demo/model", "b", 3, *few)
        self.quantize("demo/model", "c", 3, *few[:-1])
        for name in ("model-3bit.gguf", "mmproj-model-3bit.gguf"):
            self.check_same_files(self.path("a", name), self.path("b", name))
            self.assertNotEqual(read_bytes(self.path("a", name)), read_bytes(self.path("c", name)))
        self.assertEqual(second["feedback"]["tensors"], 55)
        self.assertGreater(second["feedback"]["lowered"], 0.5)
        self.assertEqual(read_gguf(self.path("a", "model-3bit.gguf"))[0]["llava_quantize.method"], "sequential")
        self.assertEqual({name for name in os.listdir(self.dir) if name.startswith(".")}, set())

    def test_interrupted(self):
        """While it calibrates, with a second, hidden pair beside the output, and while both models run."""
        before = snapshot(self.dir)
        for line in ("record", "and the like"):
            process = subprocess.Popen([BIN, "quantize", "demo/model", "out", "3", *DATA, "--limit", "16", "-t", "1",
                                        "--sequential"], cwd=self.dir, text=True, env=self.environment(),
                                       stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.addCleanup(process.kill)
            while line not in (found := process.stderr.readline()):
                self.assertTrue(found, "ended too soon")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
            self.assertEqual((process.returncode, out, err.splitlines()[-1]),
                             (1, "", "llava-quantize: interrupted; nothing was written"))
            self.assertEqual(snapshot(self.dir), before)


if __name__ == "__main__":
    unittest.main()
