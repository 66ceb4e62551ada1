"""`calibrate`: what stands in a statistics file, that neither memory nor interruptions show in it, and every refusal.

LQ_LLAMA_BIN names the folder of llama.cpp's tools; without its llama-imatrix the comparison with it is skipped.
"""
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import unittest

import numpy as np

from families import EXPERTS, EXPERTS_USED, write_family
from harness import BIN, CliTest, Result, snapshot
from models import Shape, random_weights, read_gguf, write_pair

PEER = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-imatrix")
PICTURE, AFTER, TEXT = range(3)
KEY = "llava_quantize.statistics."
WIDE = Shape(ff=640, context=512)  # second moments of 640 columns: three bands
DTYPES = {0: np.float32, 28: np.float64}


def read_stats(path):
    """(keys, arrays by name, experts first where there are some)."""
    keys, tensors = read_gguf(path)
    return keys, {name: np.frombuffer(t.data, DTYPES[t.type]).reshape(t.ne[::-1]) for name, t in tensors.items()}


def unpacked(triangle):
    n = int(np.sqrt(2 * len(triangle)))
    full = np.zeros((n, n))
    full[np.tril_indices(n)] = triangle
    return full + np.tril(full, -1).T


class Calibrate(CliTest):
    def write_data(self, n, name="data.jsonl", image=None):
        """n records about the demo's pictures, with one question each."""
        with open(self.path(name), "w", encoding="utf-8") as f:
            for i in range(n):
                record = {"question_id": i, "image": image or f"demo/calibration/{i:05}.png",
                          "text": "what is " + "here " * (i + 1), "answer": "one cat" * (1 + i % 2)}
                f.write(json.dumps(record) + "\n")
        return name

    def lines(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read().splitlines()

    def setUp(self):
        super().setUp()
        write_pair(self.path("pair"), shape=WIDE)
        self.data = self.write_data(6)

    def calibrate(self, output, *more, pair="pair/tiny.gguf"):
        return self.check(["calibrate", pair, "--data", self.data, "-o", output, "--quiet", "-t", 1, *more], out="",
                          err="")

    # What is gathered

    def check_stats(self, path, matrices):
        """Sums agree with one another; returns the arrays."""
        keys, arrays = read_stats(path)
        firsts = dict(zip(keys[KEY + "members"], keys[KEY + "firsts"]))
        self.assertEqual({name[:-8] for name in arrays if name.endswith(".in_sum2")}, matrices)
        for name in matrices:
            first = firsts.get(name, name)
            moments, tokens, weighted = (arrays[f"{first}.{part}"] for part in ("moments", "tokens", "weighted"))
            experts = tokens.shape[0]
            np.testing.assert_array_equal(arrays[f"{name}.counts"].reshape(-1), tokens.sum(1), name)
            np.testing.assert_allclose(arrays[f"{name}.in_sum2"], weighted[:, :-1], rtol=1e-6)
            moments = moments.reshape(experts, 3, 2, -1)
            np.testing.assert_allclose(moments[:, :, 1].sum(1), weighted[:, :-1], rtol=1e-12)
            self.assertTrue((moments[:, :, 1] * tokens[:, :, None] >= moments[:, :, 0] ** 2 * (1 - 1e-9)).all(), name)
            for e in range(experts):
                hessian = unpacked(arrays[f"{first}.hessian"].reshape(experts, -1)[e])
                np.testing.assert_allclose(np.diag(hessian), weighted[e, :-1], rtol=1e-4, atol=1e-6, err_msg=name)
                self.assertGreater(np.linalg.eigvalsh(hessian)[0], -1e-3 * np.trace(hessian), name)
                square = np.trace(hessian)  # sum |x|^2 over t tokens: its square is at most t times sum |x|^4
                spread = arrays[f"{first}.spread"].reshape(experts, 2)[e]
                self.assertGreaterEqual(spread[0] * spread[1] * 1.001, square ** 2)
        return arrays

    def matrices_of(self, language):
        folder, name = os.path.split(language)
        tensors = {**read_gguf(language)[1], **read_gguf(os.path.join(folder, "mmproj-" + name))[1]}
        return {name for name, t in tensors.items()
                if len(t.ne) in (2, 3) and name.endswith(".weight") and not re.search("embd|gate_inp", name)}

    def test_every_family(self):
        """Every matrix of both halves is there, the last block's feed-forward with the picture's tokens too."""
        for kind in ("grouped", "fused", "experts"):
            with self.subTest(kind):
                language, _ = write_family(self.path(kind), kind)
                self.calibrate(f"{kind}.gguf", "--hessian", pair=language)
                arrays = self.check_stats(self.path(f"{kind}.gguf"), self.matrices_of(language))
                down = f"blk.1.ffn_down{'_exps' if kind == 'experts' else ''}.weight"
                qkv = "blk.1.attn_qkv.weight" if kind == "fused" else "blk.1.attn_q.weight"
                up = next(t for n, t in arrays.items() if n.startswith("v.blk.0.attn_") and n.endswith(".tokens"))
                tokens = arrays[qkv + ".tokens"]
                self.assertEqual(tokens[0, PICTURE], 6 * 16)
                self.assertEqual(list(up[0]), [6 * 16, 0, 0])
                used = EXPERTS_USED if kind == "experts" else 1
                np.testing.assert_array_equal(arrays[down + ".tokens"].sum(0), used * tokens[0])
                self.assertEqual(arrays[down + ".tokens"].shape[0], EXPERTS if kind == "experts" else 1)

    def test_weights_and_metadata(self):
        self.calibrate("stats.gguf", "--weighting", "2:1:1")
        keys, arrays = read_stats(self.path("stats.gguf"))
        tokens = arrays["blk.0.attn_q.weight.tokens"][0]
        np.testing.assert_allclose(np.array(keys[KEY + "weights"]) * tokens, tokens.sum() * np.array([0.5, 0.25, 0.25]))
        self.assertAlmostEqual(arrays["blk.0.attn_q.weight.weighted"][0, -1], tokens.sum(), 6)
        self.assertEqual(arrays["v.blk.0.attn_q.weight.weighted"][0, -1], 6 * 17)
        self.assertEqual((keys["general.type"], keys[KEY + "done"], keys[KEY + "total"]), ("imatrix", 6, 6))
        self.assertEqual((keys["imatrix.datasets"], keys["imatrix.chunk_count"]), (["data.jsonl"], 6))
        self.assertNotIn(self.dir, str(keys))

    @unittest.skipUnless(os.access(PEER, os.X_OK), f"no llama-imatrix ('{PEER}'); LQ_LLAMA_BIN names its folder")
    def test_text_like_llama_imatrix(self):
        """The windows' share of the sums: those of records and windows less those of the records alone."""
        self.check(["convert", "demo/model", "f16.gguf", "f16", "--quiet"])
        subprocess.run([PEER, "-m", "f16.gguf", "-f", "demo/text.txt", "-o", "peer.gguf", "-c", "128", "-b", "128",
                        "--chunks", "6", "-t", "1", "--process-output", "--no-ppl"], cwd=self.dir, check=True,
                       capture_output=True, stdin=subprocess.DEVNULL)
        self.data = self.write_data(1)
        self.calibrate("records.gguf", pair="f16.gguf")
        self.calibrate("both.gguf", "--text", "demo/text.txt", "--window", 128, "--limit", 6, pair="f16.gguf")
        both, records, peer = (read_stats(self.path(name))[1] for name in ("both.gguf", "records.gguf", "peer.gguf"))
        names = {n[:-8] for n in peer if n.endswith(".in_sum2")}
        self.assertIn("output.weight", names)
        self.assertEqual(names, {n[:-8] for n in both if n.endswith(".in_sum2") and not n.startswith(("v.", "mm."))})
        for name in names:
            squares, counts = (both[name + part].ravel() - records[name + part].ravel()
                               for part in (".in_sum2", ".counts"))
            np.testing.assert_array_equal(counts, peer[name + ".counts"].ravel(), name)
            np.testing.assert_allclose(squares, peer[name + ".in_sum2"].ravel(), rtol=1e-3, atol=1e-3 * squares.mean(),
                                       err_msg=name)
            ratio = squares.sum() / peer[name + ".in_sum2"].sum()
            self.assertAlmostEqual(ratio, 1, 3, name)

    # The same bytes

    def test_memory_and_threads_do_not_show(self):
        """In memory, in several passes, and on disk where not even one input's sums fit."""
        self.calibrate("whole.gguf", "--hessian")
        dry = ["calibrate", "pair", "-d", self.data, "--hessian", "--dry-run", "--json", "-t", 1]
        plan = json.loads(self.check(dry, err="").out)
        self.assertEqual((plan["passes"], plan["bytes"]["disk"], plan["finished"]), (1, 0, False))
        ways = []
        common = ["calibrate", "pair", "-d", self.data, "--hessian", "-o", "small.gguf", "--force", "-t", 1, "-q"]
        refused = self.check([*common, "--memory", "1M"], code=2, out="").err
        least = re.fullmatch(r"llava-quantize: 1.0 MB of memory are too little: all sums, and work on the second "
                             r"moments of blk.0.ffn_down.weight take [\d.]+ MB; give --memory (\d+)M "
                             r"or more\n", refused)
        for memory in (plan["bytes"]["one_pass"] // 1000000, int(least[1])):
            found = json.loads(self.check([*common, "--memory", f"{memory}M", "--json"], err="").out)
            ways.append((found["passes"], found["on_disk"]))
            self.assertLessEqual(found["bytes"]["memory"], memory * 1000000)
            self.check_same_files(self.path("small.gguf"), self.path("whole.gguf"))
        for passes, disk in ways:  # which of them is sooner depends on the machine
            self.assertTrue(passes > 1 or disk, ways)

    def interrupt(self, *args):
        """A run that gets SIGINT when its first step is done."""
        process = subprocess.Popen([BIN, *map(str, args)], cwd=self.dir, env=self.environment(), text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        for line in process.stderr:
            if "left" in line and "%" in line:
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate()
        return Result(process.returncode, out, err)

    def test_resume(self):
        """Interrupted again and again, with little memory and much, a file becomes the one of a single run."""
        self.data = self.write_data(24)
        common = ["calibrate", "pair", "--data", self.data, "--hessian", "-t", 1]
        self.check([*common, "-o", "whole.gguf", "--quiet"])
        interruptions, code = 0, 1
        memories = ["100M", "9M"]
        while code != 0 and interruptions < 4:
            memory = memories[interruptions % len(memories)]
            result = self.interrupt(*common, "-o", "s.gguf", "--resume", "--memory", memory)
            code = result.code
            if code != 0:
                self.assertRegex(result.err, r"llava-quantize: interrupted; s.gguf holds \d+ of 24 records and text "
                                 r"windows: the same command with --resume goes on from there\n\Z")
                self.assertLess(read_stats(self.path("s.gguf"))[0][KEY + "done"], 24)
            interruptions += 1
        if code != 0:
            self.check([*common, "-o", "s.gguf", "--resume", "--quiet"])
        self.assertGreater(interruptions, 1)
        self.check_same_files(self.path("s.gguf"), self.path("whole.gguf"))
        before = snapshot(self.dir)
        self.check([*common, "-o", "s.gguf", "--resume", "--quiet"])  # nothing is left to be done
        self.assertEqual(snapshot(self.dir), before)

    def test_resume_of_something_else(self):
        self.calibrate("s.gguf")
        refused = "was gathered with other settings"
        weights = "weights of picture, after-picture and text tokens: 1 1 1, now "
        for more, found in ((["--weighting", "equal"], weights),
                            (["--cap", "8"], "cap: 0, now 8"), (["--hessian"], "second moments: no, now yes"),
                            (["--limit", "3"], "records: 6, now 3")):
            args = ["calibrate", "pair", "-d", self.data, "-o", "s.gguf", "--resume", "-q", "-t", 1, *more]
            result = self.check(args, code=2, out="")
            self.assertIn(f"s.gguf: {refused} ({found}", result.err)
        write_pair(self.path("other"), shape=WIDE, weights=random_weights(WIDE, seed=2))
        result = self.check(["calibrate", "other", "-d", self.data, "-o", "s.gguf", "--resume", "-q", "-t", 1], code=2)
        self.assertIn(f"{refused} (pair: ", result.err)
        shutil.copy(self.path("pair/tiny.gguf"), self.path("model.gguf"))
        self.check_refused(["calibrate", "pair", "-d", self.data, "-o", "model.gguf", "--resume", "-q", "-t", 1],
                           "model.gguf: cannot be resumed: it is no statistics file of this program's version; --force "
                           "gathers anew")

    # What is refused

    def test_output(self):
        self.calibrate("s.gguf")
        self.check_refused(["calibrate", "pair", "-d", self.data, "-o", "s.gguf", "-q"],
                           "s.gguf: already exists; --force replaces it", code=2)
        self.check_refused(["calibrate", "pair", "-d", self.data, "-o", "./" + self.data, "-q", "--force"],
                           f"./{self.data}: is also the input, {self.data}; choose another output", code=2)
        self.calibrate("s.gguf", "--force")

    def test_limit_and_seed(self):
        """A draw is the same each time, and another seed's is another one."""
        self.calibrate("a.gguf", "--limit", 3, "--seed", 1)
        self.calibrate("b.gguf", "--limit", 3, "--seed", 1)
        self.calibrate("c.gguf", "--limit", 3, "--seed", 2)
        self.check_same_files(self.path("a.gguf"), self.path("b.gguf"))
        a, c = (read_stats(self.path(name))[1] for name in ("a.gguf", "c.gguf"))
        self.assertEqual(a["v.blk.0.attn_q.weight.tokens"][0, PICTURE], 3 * 17)
        self.assertFalse(np.array_equal(a["v.blk.0.attn_q.weight.in_sum2"], c["v.blk.0.attn_q.weight.in_sum2"]))

    def test_wrong_use(self):
        for args, message in (
                ([], "nothing to run: give --data FILE"),
                (["-d", self.data], "nowhere to write: give --output STATS, or --dry-run"),
                (["-d", self.data, "-o", "s", "--resume", "--force"], "--resume and --force contradict each other"),
                (["-d", self.data, "-o", "s", "--weighting", "1:2"],
                 "--weighting: '1:2' is none of counts|equal|V:A:T|measured, such as 1:1:0.5"),
                (["-d", self.data, "-o", "s", "--weighting", "0:0:0"],
                 "--weighting: '0:0:0' is none of counts|equal|V:A:T|measured, such as 1:1:0.5"),
                (["-d", self.data, "-o", "s", "--cap", "-1"], "--cap: '-1' is neither a number above 0 nor 'off'")):
            with self.subTest(args):
                self.check_refused(["calibrate", "pair", *args],
                                   f"{message}; see 'llava-quantize calibrate --help'", code=2)

    def test_broken_pictures(self):
        """One in a dozen is named and left out; more are too many."""
        self.data = self.write_data(12)
        lines = self.lines(self.data)
        self.write_data(1, "one.jsonl", image="missing.png")
        one, = self.lines("one.jsonl")
        with open(self.path(self.data), "w", encoding="utf-8") as f:
            f.write("\n".join([one, *lines[1:]]) + "\n")
        result = self.check(["calibrate", "pair", "-d", self.data, "-o", "s.gguf", "-t", 1, "--json"])
        self.assertIn("data.jsonl: record '0': ", result.err)
        self.assertIn("missing.png: cannot open: No such file or directory; left out\n", result.err)
        found = json.loads(result.out)
        self.assertEqual((found["records"], found["broken"], found["finished"]), (11, 1, True))
        with open(self.path(self.data), "w", encoding="utf-8") as f:
            f.write("\n".join([one, one, *lines[2:]]) + "\n")
        result = self.check(["calibrate", "pair", "-d", self.data, "-o", "t.gguf", "-q"], code=1, out="")
        self.assertRegex(result.err, r"data.jsonl: 2 of 12 records cannot be used, at most a tenth may; the last: "
                         r".*missing.png")
        self.assertFalse(os.path.exists(self.path("t.gguf")))

    def test_no_pictures(self):
        """Text alone would leave the vision half without statistics: refused, whatever form it comes in."""
        turns = [{"from": "human", "value": "what is a cat"}, {"from": "gpt", "value": "an animal"}]
        with open(self.path("text.json"), "w", encoding="utf-8") as f:
            json.dump([{"id": str(i), "conversations": turns} for i in range(3)], f)
        with open(self.path("text.txt"), "w", encoding="utf-8") as f:
            f.write("a cat is an animal " * 400)
        out = ["-o", "s.gguf", "-q", "-t", 1]
        self.check_refused(["calibrate", "pair", "-d", "text.json", *out],
                           "text.json: 3 of 3 records are broken, more than a tenth; the first: line 1: record 1: no "
                           "picture: 'image' is missing")
        self.check_refused(["calibrate", "pair", "--text", "text.txt", *out],
                           "nothing to run: give --data FILE; see 'llava-quantize calibrate --help'", code=2)

    def test_one_record_without_a_picture(self):
        """Such as LLaVA's own data have: named, and nothing of its text is in the sums."""
        self.data = self.write_data(11)
        lines = self.lines(self.data)
        self.calibrate("without.gguf")
        with open(self.path(self.data), "w", encoding="utf-8") as f:
            f.write("\n".join([*lines[:5], '{"text": "what is a cat", "answer": "an animal"}', *lines[5:]]) + "\n")
        result = self.check(["calibrate", "pair", "-d", self.data, "-o", "with.gguf", "-t", 1])
        self.assertIn("data.jsonl: line 6: record 6: no picture: 'image' is missing", result.err)
        a, b = (read_stats(self.path(name))[1] for name in ("without.gguf", "with.gguf"))
        self.assertEqual(a.keys(), b.keys())
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], name)

    def test_damaged_weights(self):
        """The first matrix that is given NaN is named."""
        def edit(half, keys, tensors):
            if half == "language":
                t = tensors["blk.0.attn_norm.weight"]
                t.data = np.full(64, np.nan, np.float32).tobytes()
        write_pair(self.path("bad"), edit=edit)
        self.check_refused(["calibrate", "bad", "-d", self.data, "-o", "s.gguf", "-q", "-t", 1],
                           "bad/tiny.gguf: tensor 'blk.0.attn_q.weight' takes an input that is NaN or infinite: the "
                           "weights before it are damaged")

    def test_no_space(self):
        limit, args = 1 << 18, ["calibrate", "pair", "-d", self.data, "-o", "s.gguf", "-q", "--hessian"]
        result = self.run_cli(args, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual((result.code, result.out), (1, ""))
        self.assertRegex(result.err, r"\Allava-quantize: s\.gguf: needs .*, but this process may write files of at "
                         "most")
        result = self.run_cli([*args, "--memory", "9M"],
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        self.assertEqual((result.code, result.out), (1, ""))
        self.assertRegex(result.err, r"cannot take [\d.]+ MB for sums that do not fit into memory: File too large; "
                         r"name another folder with --spill, or give more --memory\n\Z")
        self.assertEqual([n for n in os.listdir(self.dir) if n.startswith((".", "s."))], [])

    def test_full_disk(self):
        """A file system of a few megabytes, for the file or for what is spilled."""
        os.mkdir(self.path("place"))
        for size, more, message in (("64k", ["-o", "place/s.gguf"], "the statistics take|needs"),
                                    ("1m", ["-o", "s.gguf", "--memory", "9M", "--spill", "place"],
                                     "sums that do not fit into memory|for a trial|cannot")):
            script = (f"mount -t tmpfs -o size={size} none place || exit 77; \"$@\"; code=$?; "
                      "find place -mindepth 1 > listing; exit $code")
            args = ["calibrate", "pair", "-d", self.data, "-q", "--hessian", "-t", "1", *more]
            done = subprocess.run(["unshare", "-rm", "sh", "-c", script, "sh", BIN, *args], cwd=self.dir, text=True,
                                  env=self.environment(), capture_output=True)
            if not os.path.exists(self.path("listing")):
                self.skipTest(f"no file systems of our own here: {done.stderr.strip()}")
            with self.subTest(size):
                self.assertEqual((done.returncode, done.stdout), (1, ""))
                self.assertRegex(done.stderr, message)
                self.assertEqual(self.lines("listing"), [])
                self.assertFalse(os.path.exists(self.path("s.gguf")))


if __name__ == "__main__":
    unittest.main()
