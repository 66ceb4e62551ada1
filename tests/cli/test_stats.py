"""Statistics and imatrix files: what `inspect` shows, llama-quantize reading ours, ours reading llama-imatrix's."""
import json
import os
import re
import struct
import subprocess
import unittest

import numpy as np

from harness import DEMO, PROJECT, CliTest
from models import F16, F32, Shape, Tensor, read_gguf, tensor, write_gguf, write_pair

F64 = 28
PEER = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-quantize")
IMATRIX = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-imatrix")
MEMBERS = {"command", "version", "path", "format", "datasets", "chunks", "pair_id", "done", "total", "weights",
           "moment_bytes", "moments_count", "model", "missing", "tensors"}


def f32(array, *ne):
    return Tensor(F32, ne, np.asarray(array, "<f4").tobytes())


def f64(array, *ne):
    return Tensor(F64, ne, np.asarray(array, "<f8").tobytes())


def matrices(*files):
    """What a pair's matrices are called, and how many columns they have; embeddings apart."""
    found = {}
    for file in files:
        for name, t in read_gguf(file)[1].items():
            if len(t.ne) == 2 and t.type == F16 and "embd" not in name:
                found[name] = t.ne[0]
    return found


class Made:
    """Statistics in llama.cpp's form (`parts`) and what ours adds (`more`), of random numbers."""

    def __init__(self, columns, pair, hessian):
        random = np.random.default_rng(7)
        self.keys = {"general.type": "imatrix", "imatrix.datasets": ["calibration.json", "text.txt"],
                     "imatrix.chunk_count": 40, "imatrix.chunk_size": 512}
        self.more_keys = {"llava_quantize.statistics.version": 1, "llava_quantize.statistics.pair": pair}
        self.parts, self.more, inputs = {}, {}, {}
        shared = {"attn_k": "attn_q", "attn_v": "attn_q", "ffn_gate": "ffn_up"}
        for name, n in columns.items():
            first = re.sub("attn_k|attn_v|ffn_gate", lambda m: shared[m[0]], name)
            if first not in inputs:
                inputs[first] = random.lognormal(0, 1, n) * 1000
                self.more[first + ".tokens"] = f64([600, 300, 100], 3, 1)
                self.more[first + ".weighted"] = f64([*inputs[first], 1000], n + 1, 1)
                if hessian:
                    packed = np.diag(inputs[first])[np.tril_indices(n)]
                    self.more[first + ".hessian"] = f32(packed, len(packed), 1)
                    self.more[first + ".spread"] = f64([1e6, 1000], 2, 1)
            self.parts[name + ".in_sum2"] = f32(inputs[first], n, 1)
            self.parts[name + ".counts"] = f32([1000], 1, 1)
        members = [n for n in columns if n not in inputs]
        self.more_keys["llava_quantize.statistics.members"] = members
        self.more_keys["llava_quantize.statistics.firsts"] = [
            re.sub("attn_k|attn_v|ffn_gate", lambda m: shared[m[0]], n) for n in members]

    def write(self, ours, plain=None):
        write_gguf(ours, {**self.keys, **self.more_keys}, {**self.parts, **self.more})
        if plain:
            write_gguf(plain, self.keys, self.parts)


class Inspect(CliTest):
    def setUp(self):
        super().setUp()
        write_pair(self.path("in"), shape=Shape())
        columns = matrices(self.path("in/tiny.gguf"), self.path("in/mmproj-tiny.gguf"))
        columns.pop("blk.1.ffn_down.weight")
        self.made = Made(columns, "", True)
        sums = np.frombuffer(self.made.parts["blk.0.ffn_down.weight.in_sum2"].data, "<f4").copy()
        sums[3], sums[5] = 0, 1e9
        self.made.parts["blk.0.ffn_down.weight.in_sum2"] = f32(sums, len(sums), 1)
        self.made.parts["mm.0.weight.counts"] = f32([20], 1, 1)

    def test_text(self):
        self.made.write(self.path("stats.gguf"))
        self.check_golden("inspect-stats.txt", self.check(["inspect", "stats.gguf", "--against", "in"], err="").out)

    def test_json(self):
        self.made.more_keys |= {"llava_quantize.statistics.done": 5, "llava_quantize.statistics.total": 9}
        self.made.write(self.path("stats.gguf"))
        seen = json.loads(self.check(["inspect", "stats.gguf", "--against", "in", "--json"], err="").out)
        self.assertEqual(set(seen), MEMBERS)
        self.assertEqual((seen["format"], seen["done"], seen["total"], seen["moments_count"]),
                         ("statistics", 5, 9, True))
        self.assertEqual(seen["missing"], ["blk.1.ffn_down.weight"])
        tensors = {t["name"]: t for t in seen["tensors"]}
        down, k = tensors["blk.0.ffn_down.weight"], tensors["blk.0.attn_k.weight"]
        self.assertEqual((down["dead"], [w["column"] for w in down["worst"]][0]), (1, 5))
        self.assertEqual((k["input"], k["kinds"]), ("blk.0.attn_q.weight", {"picture": 600, "after": 300, "text": 100}))
        self.assertEqual(tensors["mm.0.weight"]["few"], 1)
        with open(os.path.join(PROJECT, "docs", "output.md"), encoding="utf-8") as f:
            page = f.read().split("\n## Statistics\n")[1].split("\n## ")[0]
        with open(os.path.join(PROJECT, "cli", "inspect_stats.h"), encoding="utf-8") as f:
            header = f.read()
        for name in (MEMBERS - {"command", "version"}) | set(k) | set(down["worst"][0]):
            self.assertIn(f"`{name}`", page)
            self.assertIn(f'"{name}"', header)

    def test_older_form(self):
        with open(self.path("old.dat"), "wb") as f:
            f.write(struct.pack("<ii", 1, 1) + b"w" + struct.pack("<ii4f", 2, 4, 2, 4, 6, 8))
        seen = json.loads(self.check(["inspect", "old.dat", "--json"]).out)
        self.assertEqual((seen["format"], seen["tensors"][0]["columns"], seen["tensors"][0]["tokens"]),
                         ("imatrix-legacy", 4, 0))

    def test_wrong_use(self):
        self.made.write(self.path("stats.gguf"))
        self.check(["inspect", "stats.gguf", "--weights"], code=2)
        self.check(["inspect", "in", "--against", "in"], code=2)
        self.check(["inspect", "stats.gguf", "--against", "gone"], code=1)


@unittest.skipUnless(os.access(PEER, os.X_OK) and os.access(IMATRIX, os.X_OK), "LQ_LLAMA_BIN lacks llama.cpp's tools")
class Peer(CliTest):
    def setUp(self):
        super().setUp()
        self.check(["convert", os.path.join(DEMO, "model"), "pair", "f16", "--quiet"])
        self.halves = self.path("pair", "model-F16.gguf"), self.path("pair", "mmproj-model-F16.gguf")

    def peer(self, half, imatrix, kind):
        out = self.path("theirs.gguf")
        subprocess.run([PEER, "--imatrix", imatrix, half, out, kind, "1"], check=True, capture_output=True)
        return {n: (t.type, bytes(t.data)) for n, t in read_gguf(out)[1].items()}

    def test_llama_quantize_reads_ours(self):
        """The same bytes as from an imatrix file of the same values, whatever else stands in ours."""
        for half in self.halves:
            columns = matrices(half)
            Made(columns, "", False).write(self.path("ours.gguf"), self.path("plain.gguf"))
            expected = self.peer(half, self.path("plain.gguf"), "Q4_0")
            self.assertEqual(self.peer(half, self.path("ours.gguf"), "Q4_0"), expected)
            Made(columns, "", True).write(self.path("ours.gguf"))
            self.assertEqual(self.peer(half, self.path("ours.gguf"), "Q4_0"), expected)

    def test_ours_reads_llama_imatrix(self):
        """Its values reach the encoders: the bytes of types that ggml encodes for us are llama-quantize's."""
        with open(self.path("text"), "w") as f:
            f.writelines(f"The {w} circle is left of square {i}.\n" for i in range(120) for w in ("red", "blue"))
        subprocess.run([IMATRIX, "-m", self.halves[0], "-f", "text", "-o", "im.gguf", "-c", "64", "--chunks", "8",
                        "-t", "1"], check=True, capture_output=True, cwd=self.dir)
        seen = json.loads(self.check(["inspect", "im.gguf", "--json", "--against", self.halves[0], "--only",
                                      "language"]).out)
        self.assertEqual((seen["format"], seen["chunks"], seen["missing"]), ("imatrix", 8, ["output.weight"]))
        values = read_gguf(self.path("im.gguf"))[1]
        for t in seen["tensors"]:
            sums = np.sort(np.frombuffer(values[t["name"] + ".in_sum2"].data, "<f4"))
            self.assertEqual((t["tokens"], t["few"], t["dead"]), (8 * 64, 0, 0))
            np.testing.assert_allclose(t["ratio"], sums[-1] / sums[len(sums) // 2], rtol=1e-5)
        self.check(["quantize", self.halves[0], "ours.gguf", "IQ3_XXS", "--imatrix", "im.gguf", "--only", "language",
                    "--quiet"])
        ours = read_gguf(self.path("ours.gguf"))[1]
        theirs = self.peer(self.halves[0], self.path("im.gguf"), "IQ3_XXS")
        same = [n for n, t in ours.items() if t.type == 18]
        self.assertGreater(len(same), 10)
        for name in same:
            if theirs[name][0] == 18:
                self.assertEqual(bytes(ours[name].data), theirs[name][1], name)
