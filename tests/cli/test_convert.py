"""convert as a user runs it: names, types and values of the full-precision pair."""
import json
import os
import unittest

import numpy as np

from harness import CliTest, snapshot
from models import Shape, gguf_tensors, random_weights, read_gguf, write_llava, write_pair


class Convert(CliTest):
    def test_table(self):
        result = self.check(["convert", "demo/model", "out"])
        self.check_golden("convert-demo.txt", result.out)
        self.assertEqual(sorted(os.listdir(self.path("out"))), ["mmproj-model-F16.gguf", "model-F16.gguf"])

    def test_values_of_every_type(self):
        shape = Shape()
        weights = random_weights(shape)
        write_llava(self.path("in"), shape, weights, dtype="f32")
        for dtype in ("f16", "bf16", "f32"):
            self.check(["convert", "in", f"{dtype}.gguf", dtype.upper(), "-q"], out="", err="")
            halves = gguf_tensors(shape, weights, dtype)
            for expected, path in zip(halves, (f"{dtype}.gguf", f"mmproj-{dtype}.gguf")):
                found = read_gguf(self.path(path))[1]
                self.assertEqual(set(found), set(expected))
                for name, tensor in expected.items():
                    self.assertEqual((found[name].type, found[name].ne), (tensor.type, tensor.ne), name)
                    np.testing.assert_array_equal(found[name].array(), tensor.array(), name)

    def test_f16_is_the_default(self):
        write_llava(self.path("in"))
        self.check(["convert", "in", "a.gguf", "-q"])
        self.check(["convert", "in", "b.gguf", "f16", "-q"])
        self.check_same_files(self.path("a.gguf"), self.path("b.gguf"))

    def test_one_half(self):
        write_llava(self.path("in"))
        self.check(["convert", "in", "out", "--only", "vision", "-q"])
        self.assertEqual(os.listdir(self.path("out")), ["mmproj-in-F16.gguf"])

    def test_json(self):
        write_llava(self.path("in"))
        report = json.loads(self.check(["convert", "in", "out", "--json", "-q"]).out)
        self.assertEqual(report["command"], "convert")
        self.assertEqual({e["relative_error"] for e in report["plan"]}, {0.0})

    def test_dry_run(self):
        write_llava(self.path("in"))
        before = snapshot(self.dir)
        self.check(["convert", "in", "out", "--dry-run"], err="")
        self.assertEqual(snapshot(self.dir), before)

    def test_gguf_is_refused(self):
        write_pair(self.path("in"))
        self.check_refused(["convert", "in", "out"],
                           "in: is GGUF already; 'llava-quantize quantize in OUTPUT f16' changes its type", code=2)


if __name__ == "__main__":
    unittest.main()
