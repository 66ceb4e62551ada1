"""Statistics and imatrix files: what `inspect` shows of them, and what `quantize` warns of."""
import json
import os
import struct

import numpy as np

from harness import PROJECT, CliTest, snapshot
from models import Shape, write_pair
from statistics_files import Made, f32, matrices

MEMBERS = {"command", "version", "path", "format", "datasets", "chunks", "pair_id", "done", "total", "weights",
           "moment_bytes", "moments_count", "measured", "model", "missing", "tensors"}


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
        self.assertEqual(seen["measured"], {"errors": len(seen["tensors"]), "divergences": 2})
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


class Quantize(CliTest):
    def setUp(self):
        super().setUp()
        write_pair(self.path("in"), shape=Shape())
        self.made = Made(matrices(self.path("in/tiny.gguf"), self.path("in/mmproj-tiny.gguf")), "", True)

    def warnings_of(self, *options):
        self.made.write(self.path("stats.gguf"))
        found = self.check(["quantize", "in", "out", "q8_0", "--force", "--stats", "stats.gguf", *options]).err
        return [line for line in found.splitlines() if "stats.gguf" in line]

    def test_sound(self):
        self.made.more_keys |= {"llava_quantize.statistics.done": 9, "llava_quantize.statistics.total": 9}
        self.assertEqual(self.warnings_of(), [])

    def test_unfinished(self):
        self.made.more_keys |= {"llava_quantize.statistics.done": 5, "llava_quantize.statistics.total": 9}
        self.assertEqual(self.warnings_of(), [
            "stats.gguf: the run that gathered these statistics was interrupted after 5 of 9 "
            "records and windows; 'llava-quantize calibrate' with the same options and --resume finishes it"])

    def test_thin(self):
        for name in ("blk.0.ffn_down.weight", "mm.0.weight"):
            self.made.parts[name + ".counts"] = f32([63], 1, 1)
        [found] = self.warnings_of("--method", "imatrix")
        self.assertIn("2 matrices met fewer than 64 tokens, 'mm.0.weight' first, and gain little", found)
        self.assertEqual(self.warnings_of("--method", "plain"), [])
        [found] = self.warnings_of("--type", "vision=f16", "--type", "projector=f16")
        self.assertIn("1 matrix met fewer than 64 tokens", found)


class Plan(CliTest):
    def test_nothing_is_kept(self):
        """Measurements that are none, and a form without room for them: told, and planned without; the file stays."""
        write_pair(self.path("in"), shape=Shape())
        columns = matrices(self.path("in/tiny.gguf"), self.path("in/mmproj-tiny.gguf"))
        name, made = "blk.0.attn_q.weight", Made(columns, "", False)
        made.more_keys["llava_quantize.measured.errors.names"].reverse()
        made.write(self.path("stats.gguf"))
        with open(self.path("old.dat"), "wb") as f:
            f.write(struct.pack("<ii", 1, len(name)) + name.encode() + struct.pack("<ii", 1, columns[name]) +
                    np.ones(columns[name], "<f4").tobytes())
        for file, why in (("stats.gguf", "key 'llava_quantize.measured.errors.names' is not in order: no measurements "
                                         "of this program"),
                          ("old.dat", "no GGUF file: it has no room for measurements")):
            with self.subTest(file):
                before = snapshot(self.dir)
                found = self.check(["plan", "in", "--target-bpw", 10, "--types", "q4_0,q8_0,f16", "--effort", "fast",
                                    "--stats", file])
                self.assertEqual([line for line in found.err.splitlines() if line.startswith(file)], [f"{file}: {why}"])
                self.assertEqual(snapshot(self.dir), before)
