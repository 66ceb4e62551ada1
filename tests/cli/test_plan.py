"""Plans for a size or a quality: what they promise, and what is refused."""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from families import write_family
from harness import BIN, DEMO, CliTest, snapshot
from models import read_gguf

DATA = ["--data", "demo/calibration.json"]
FEW = [*DATA, "--limit", 3, "-t", 1]
FAST = ["--effort", "fast", "-t", 1]
# Quick to judge; for some of the others ggml first makes tables for ten seconds.
TYPES = ["--types", "q2_k,q3_k,q4_k,q5_k,q6_k,q8_0,f16"]


class Plan(CliTest):
    def plan(self, *args):
        return json.loads(self.check(["plan", "demo/model", *args, "--json", "--quiet"], err="").out)

    def sizes(self, folder):
        return sum(os.path.getsize(self.path(folder, name)) for name in os.listdir(self.path(folder)))

    def types(self, path):
        with open(self.path(path), encoding="utf-8") as f:
            return {(t["half"], t["name"]): t["type"] for t in json.load(f)["tensors"]}


class Sizes(Plan):
    def test_size_is_met(self):
        """Never above, at most half a percent below; and the files are as large as the plan says."""
        for size in (2900000, 4200001, 9000000):
            with self.subTest(size):
                result = self.plan("--target-size", f"{size / 1e6:.6f}M", *FAST, *TYPES, "-o", "plan.json", "--force")["plan"]
                self.assertLessEqual(result["bytes"], size)
                self.assertGreaterEqual(result["bytes"], 0.995 * size)
                out = f"out-{size}"
                self.check(["quantize", "demo/model", out, "--plan", "plan.json", *FAST, "--quiet"])
                self.assertEqual(self.sizes(out), result["bytes"])

    def test_bits_are_met(self):
        """Bits per weight are those that quantize counts."""
        for bits in (3.5, 8):
            with self.subTest(bits):
                out = self.check(["quantize", "demo/model", "out", "--target-bpw", bits, *FAST, *TYPES, "--quiet",
                                  "--json", "--dry-run"]).out
                halves = json.loads(out)["halves"].values()
                found = 8 * sum(h["bytes_after"] for h in halves) / sum(h["weights"] for h in halves)
                self.assertLessEqual(found, bits)
                self.assertGreaterEqual(found, 0.995 * bits)

    def test_shards_count(self):
        """Headers of shards are within the size, too."""
        self.check(["quantize", "demo/model", "out", "--target-size", "3.5M", "--split-size", "1M", *FAST, *TYPES,
                    "--quiet"])
        self.assertGreater(len(os.listdir(self.path("out"))), 2)
        self.assertLessEqual(self.sizes("out"), 3500000)
        self.assertGreaterEqual(self.sizes("out"), 0.995 * 3500000)

    def test_more_bytes_lose_less(self):
        curve = self.plan("--curve", "curve.json", *FAST, *TYPES)["curve"]
        self.assertEqual(len(curve), 12)
        self.assertEqual(sorted(p["bytes"] for p in curve), [p["bytes"] for p in curve])
        with open(self.path("curve.json"), encoding="utf-8") as f:
            written = json.load(f)
        self.assertEqual((written["format"], written["version"]), ("llava-quantize curve", 1))
        self.assertEqual([p["bytes"] for p in written["points"]], [p["bytes"] for p in curve])
        self.assertEqual((written["questions"], written["data"], curve[0]["measured"]), (0, None, None))


class Limits(Plan):
    def test_types(self):
        self.plan("--target-bpw", 6, "--types", "q4_0,q8_0", *FAST, "-o", "plan.json")
        self.assertEqual({t for (_, n), t in self.types("plan.json").items() if "attn_q.weight" in n},
                         {"q4_0", "q8_0"})

    def test_pins_and_ceilings(self):
        self.plan("--target-bpw", 5, "--type", "language.output=q8_0", "--max-type", "vision.attention=q4_k", *FAST,
                  *TYPES, "-o", "plan.json")
        types = self.types("plan.json")
        self.assertEqual(types["language", "output.weight"], "q8_0")
        self.assertLessEqual({t for (_, n), t in types.items() if re.match(r"v\.blk\.\d\.attn_.*weight", n)},
                             {"q2_k", "q3_k", "q4_k"})
        self.assertLessEqual({"q5_k"}, set(types.values()))

    def test_device(self):
        """What the device does not decode fast is not chosen; one that is not known is refused with those that are."""
        types = ["--types", "q3_k,iq4_nl,q8_0"]
        for device, held in (("cpu", True), ("vulkan", False)):
            self.plan("--target-bpw", 4.4, *types, "--only-fast-on", device, *FAST, "-o", f"{device}.json")
            self.assertEqual("iq4_nl" in self.types(f"{device}.json").values(), held, device)
        result = self.check(["plan", "demo/model", "--target-bpw", 4, "--only-fast-on", "abacus", "--quiet"], code=2)
        self.assertRegex(result.err, "'abacus' is no device whose types are known; those are cpu, cuda, metal, vulkan")


class SamePlan(Plan):
    def test_threads_and_ways(self):
        """One plan for any number of threads; the files of `quantize --plan` are those of `quantize --target-...`."""
        self.check(["convert", "demo/model", "f16", "--quiet"])
        self.check(["calibrate", "f16", *FEW, "--hessian", "-o", "stats.gguf", "--quiet"])
        more = ["--target-size", "3.7M", "--stats", "stats.gguf", *FAST[:2], *TYPES, "--quiet"]
        for threads in (1, 3):
            self.check(["plan", "f16", *more, "-o", f"{threads}.json", "-t", threads])
        self.check_same_files(self.path("1.json"), self.path("3.json"))
        self.check(["quantize", "f16", "direct", *more])
        self.check(["quantize", "f16", "planned", "--plan", "1.json", "--stats", "stats.gguf", *FAST, "--quiet"])
        self.assertEqual(sorted(os.listdir(self.path("direct"))), sorted(os.listdir(self.path("planned"))))
        for name in os.listdir(self.path("direct")):
            self.check_same_files(self.path("direct", name), self.path("planned", name))


class Measured(Plan):
    """Short questions and few types, because all groups are measured: once, for all tests."""
    ASK = ["--data", "demo/exam.jsonl", "--limit", "3", "-t", "1"]
    TYPES = ["--types", "q2_k,q3_k,q6_k"]

    @classmethod
    def setUpClass(cls):
        folder = tempfile.mkdtemp(prefix="lq-plan-")
        cls.addClassCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.symlink(DEMO, os.path.join(folder, "demo"))
        done = subprocess.run([BIN, "plan", "demo/model", "--max-kld", "0.0002", *cls.ASK, *cls.TYPES, "--save-stats",
                               "stats.gguf", "-o", "plan.json", "--json", "--quiet"], cwd=folder, capture_output=True,
                              text=True, check=False)
        cls.first = (done.returncode, done.stderr, sorted(os.listdir(folder)))
        cls.result = json.loads(done.stdout or "null")
        cls.stats = os.path.join(folder, "stats.gguf")

    def setUp(self):
        super().setUp()
        self.assertEqual(self.first, (0, "", ["demo", "plan.json", "stats.gguf"]))
        shutil.copy(self.stats, self.path("stats.gguf"))

    def test_from_a_folder(self):
        """Calibrates, measures, and leaves nothing but what was asked for; the measured divergence is below the bound."""
        plan, search = self.result["plan"], self.result["search"]
        self.assertLessEqual(plan["measured"] + 2 * plan["error"], 0.0002)
        self.assertGreater(plan["measured"], 0)
        self.assertEqual((search["groups"], search["known"]), (32, 0))
        self.assertGreater(search["measurements"], 32)

    def test_another_size(self):
        """What was measured is known; the measured divergence is about as estimated."""
        again = self.plan("--target-size", "3.7M", *self.ASK, *self.TYPES, "--stats", "stats.gguf")
        self.assertEqual(again["search"]["known"], 36)
        self.assertLess(again["search"]["measurements"], 16)
        self.assertLess(again["plan"]["bytes"], 3700001)
        self.assertTrue(0.2 < again["plan"]["estimate"] / again["plan"]["measured"] < 5, again["plan"])

    def test_interrupted(self):
        """While tensors are measured: no plan, no hidden folder, and one line that says so."""
        before = snapshot(self.dir)
        command = [BIN, "plan", "demo/model", "--target-bpw", "4.5", *self.ASK, *self.TYPES, "-o", "plan.json"]
        with subprocess.Popen(command, cwd=self.dir, env=self.environment(), text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as process:
            self.addCleanup(process.kill)
            while "left  vision." not in (found := process.stderr.readline()):
                self.assertTrue(found, "ended too soon")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
        self.assertEqual((process.returncode, out, err.splitlines()[-1]),
                         (1, "", "llava-quantize: interrupted; no plan was made"))
        self.assertEqual(snapshot(self.dir), before)

    def test_progress(self):
        """Measuring is not over when all tensors are measured: what the plan itself takes counts from the start."""
        said = self.check(["plan", "demo/model", "--target-bpw", "4.5", *self.ASK, *self.TYPES, "-o", "plan.json"]).err
        shown = [int(share) for share in re.findall(r"(\d+) % .* left  (?:vision|projector|language)", said)]
        self.assertEqual(shown, sorted(shown))
        self.assertGreater(len(shown), 3)
        self.assertLess(shown[-1], 100)

    def test_too_good(self):
        result = self.check(["plan", "demo/model", "--max-kld", "0.0000000001", *self.ASK, *self.TYPES, "--stats",
                             "stats.gguf", "--quiet"], code=2, out="")
        self.assertRegex(result.err, "with the largest types allowed it is .*, two standard errors included\n$")
        self.assertEqual(sorted(os.listdir(self.dir)), ["demo", "stats.gguf"])


class EachTensor(Plan):
    def test_best(self):
        """Each tensor is measured alone, of experts all in one; another run knows them, and makes the same plan."""
        for kind in ("grouped", "fused", "experts"):
            with self.subTest(kind):
                language, _ = write_family(self.path(kind), kind)
                command = ["plan", language, "--effort", "best", "--target-bpw", 8, "--types", "q4_0,q5_0,q8_0,f16",
                           "--data", "demo/exam.jsonl", "--limit", 2, "-t", 1, "--json", "--quiet"]
                made = []
                for stats, output in (("--save-stats", "first.json"), ("--stats", "second.json")):
                    found = self.check([*command, stats, f"{kind}/stats.gguf", "-o", f"{kind}/{output}"], err="").out
                    made.append(json.loads(found))
                first, second = (m["search"] for m in made)
                self.assertEqual(first["groups"], first["tensors"])
                self.assertEqual((first["known"], second["known"]), (0, first["groups"] + first["checks"]))
                self.assertGreater(first["measurements"], first["groups"])
                self.assertLessEqual(made[0]["plan"]["measured"], made[0]["plan"]["first"])
                self.assertEqual(made[0]["plan"], made[1]["plan"])
                self.check_same_files(self.path(kind, "first.json"), self.path(kind, "second.json"))


class Refused(Plan):
    def refuse(self, args, message, code=2, command=("plan", "demo/model")):
        self.check_refused([*command, *args], message, code=code)

    def test_out_of_reach(self):
        self.refuse(["--target-size", "1M", *FAST, "--quiet", "--types", "q4_k,q8_0"],
                    "demo/model: 1000000 bytes are asked for, and the smallest possible is 4258176; the largest there "
                    "are 'v.patch_embd.weight' (f32, 196608 bytes), 'v.blk.0.ffn_up.weight' (q4_k, 147456 bytes), "
                    "'v.blk.0.ffn_down.weight' (q4_k, 147456 bytes)")
        self.refuse(["--target-bpw", 2, *FAST, "--quiet", "--types", "q4_k,q8_0"],
                    "demo/model: 2 bits per weight are asked for, and the smallest possible is 4.823; the largest "
                    "there are 'v.patch_embd.weight' (f32, 196608 bytes), 'v.blk.0.ffn_up.weight' (q4_k, 147456 bytes), "
                    "'v.blk.0.ffn_down.weight' (q4_k, 147456 bytes)")
        self.refuse(["--target-size", "20M", *FAST, "--quiet"],
                    "demo/model: 20000000 bytes are asked for, more than the original's 14244032")
        self.refuse(["--target-bpw", 20, *FAST, "--quiet"],
                    "demo/model: more bits per weight are asked for than the original has, 16.19")

    def test_no_data(self):
        self.refuse(["--max-kld", "0.02", "--quiet"],
                    "demo/model: a divergence is reached by measuring, which needs data and another effort than fast")
        result = self.check(["plan", "demo/model", "--target-bpw", 4, *TYPES])
        self.assertIn("no data: nothing is measured, and all tensors count alike; --data FILE measures\n", result.err)
        self.assertIn("no statistics: types are judged by the plain errors of the weights", result.err)

    def test_contradictions(self):
        see = "see 'llava-quantize plan --help'"
        for args, message in (
                ([], "nothing to plan for: give --target-size, --target-bpw, --max-kld, --fit or --curve"),
                (["--target-bpw", 4, "--max-kld", 1], "--target-size, --target-bpw, --max-kld and --fit contradict each other"),
                (["--curve", "c.json", "-o", "plan.json"],
                 "--output is for one plan: give --target-size, --target-bpw, --max-kld or --fit"),
                (["--target-bpw", 4, "--text", "demo/text.txt"],
                 "--text, --weighting, --cap and --save-stats say how to calibrate: give --data, and no --stats"),
                (["--target-bpw", 4, "--limit", 4], "--limit and --seed draw from --data, which is not given")):
            with self.subTest(args):
                self.refuse(args, f"{message}; {see}")
        self.refuse(["4", "--target-bpw", 4],
                    "--target-size, --target-bpw, --max-kld and --fit choose all types: they go with no recipe, "
                    "--vision, --language or --plan; see 'llava-quantize quantize --help'",
                    command=("quantize", "demo/model", "out"))
        self.refuse(["--types", "q4_k"],
                    "--types, --only-fast-on and --max-type say what to choose from: give --target-size, --target-bpw, "
                    "--max-kld or --fit; see 'llava-quantize quantize --help'", command=("quantize", "demo/model", "out"))

    def test_limits(self):
        """Pins and limits that contradict each other, leave nothing, or mean nothing that can be quantised."""
        pin = ["--type", "language.output=q8_0"]
        for args, message in (
                ([*pin, "--max-type", "language.output=q4_k"],
                 "tensor 'output.weight': --type 'language.output=q8_0' is more than --max-type "
                 "'language.output=q4_k'"),
                ([*pin, "--types", "q4_k,q5_k"],
                 "--type 'language.output=q8_0': q8_0 is not among --types 'q4_k,q5_k'"),
                (["--type", "output=iq4_nl", "--only-fast-on", "vulkan"],
                 "--type 'output=iq4_nl': --only-fast-on vulkan: it does not decode iq4_nl fast"),
                (["--types", "iq4_nl", "--only-fast-on", "vulkan"],
                 "--only-fast-on vulkan: it decodes none of --types 'iq4_nl' fast"),
                (["--types", "q8_0", "--max-type", "language.output=q4_k"],
                 "demo/model: tensor 'output.weight': no type that --types 'q8_0' --max-type 'language.output=q4_k' "
                 "leaves fits its 256 columns and is smaller than f16: allow one with smaller blocks, such as q8_0, or "
                 "f16"),
                (["--types", "q9"], "--types 'q9': 'q9' is no ggml type such as q8_0, q4_k or f16"),
                (["--types", ","], "--types ',' names no type"),
                (["--type", "nothing=q4_k"], "--type 'nothing': no tensor has such a name or role"),
                (["--max-type", "norm=q4_k"],
                 "--max-type 'norm': tensor 'output_norm.weight' (norm) is never quantised"),
                (["--max-type", "language.output"],
                 "--max-type language.output: is not PATTERN=TYPE, such as 'vision.ffn=q5_k'")):
            with self.subTest(args):
                self.refuse(["--target-bpw", 5, *args, *FAST, "--quiet"], message)

    def test_stale_statistics(self):
        """Statistics of another pair are refused, as quantize does."""
        self.check(["convert", "demo/model", "f16", "--quiet"])
        self.check(["quantize", "f16", "other", "q8_0", "--quiet"])
        self.check(["calibrate", "f16", *FEW, "-o", "stats.gguf", "--quiet"])
        pairs = [read_gguf(self.path(file))[0]["llava_quantize.pair_id"]
                 for file in ("f16/model-F16.gguf", "other/model-Q8_0.gguf")]
        self.refuse(["--allow-requantize", "--target-bpw", 4, "--stats", "stats.gguf", "--quiet"],
                    f"stats.gguf: statistics of pair {pairs[0]}, but other is pair {pairs[1]}: calibrate the latter, "
                    "or quantise the former", command=("plan", "other"), code=1)

    def test_quantised_already(self):
        self.check(["quantize", "demo/model", "small", "q8_0", "--quiet"])
        said = "start from the full-precision model, pass --allow-requantize, or keep it with the type 'copy'"
        self.refuse(["--target-bpw", 4, "--types", "q4_0", "--quiet"],
                    "small/mmproj-model-Q8_0.gguf: tensor 'v.blk.0.attn_q.weight' is already quantised (q8_0), and q4_0 "
                    f"is asked for: {said}", command=("plan", "small"), code=1)
        self.refuse(["--target-bpw", 4, "--data", "demo/exam.jsonl", "--quiet"],
                    "small: is quantised already, and --data would calibrate on its errors; start from the original, "
                    "or give --allow-requantize", command=("plan", "small"), code=1)

    def test_output_stands(self):
        with open(self.path("plan.json"), "w", encoding="utf-8") as f:
            f.write("{}")
        self.refuse(["--target-bpw", 4, "-o", "plan.json"], "plan.json: already exists; --force replaces it")
        self.refuse(["--curve", "plan.json"], "plan.json: already exists; --force replaces it")
        self.refuse(["--curve", "stats.gguf", "--force"],
                    "stats.gguf: is the name of a model's file; call the curve something like curve.json")
        self.refuse(["--curve", "none/curve.json"], "none/curve.json: cannot create: No such file or directory", code=1)
        self.refuse(["--target-bpw", 4, "-o", "new.json", "--curve", "new.json"],
                    "--output and --curve are the same file; see 'llava-quantize plan --help'")


if __name__ == "__main__":
    unittest.main()
