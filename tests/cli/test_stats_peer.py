"""imatrix files both ways: llama-quantize reads ours, and ours reads llama-imatrix's."""
import json
import os
import subprocess
import unittest

import numpy as np

from harness import DEMO, CliTest
from models import read_gguf
from statistics_files import Made, matrices

PEER = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-quantize")
IMATRIX = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-imatrix")
IQ2_XXS = 16


@unittest.skipUnless(os.access(PEER, os.X_OK) and os.access(IMATRIX, os.X_OK), "LQ_LLAMA_BIN lacks llama.cpp's tools")
class Peer(CliTest):
    def setUp(self):
        super().setUp()
        self.check(["convert", os.path.join(DEMO, "model"), "pair", "f16", "--quiet"])
        self.halves = self.path("pair", "model-F16.gguf"), self.path("pair", "mmproj-model-F16.gguf")

    def peer(self, half, imatrix, kind, *more):
        out = self.path("theirs.gguf")
        subprocess.run([PEER, *more, "--imatrix", imatrix, half, out, kind, "1"], check=True, capture_output=True)
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

    def test_llama_quantize_reads_what_calibrate_writes(self):
        """A type that cannot do without finds data for every matrix of both halves."""
        self.check(["calibrate", "pair", "--data", "demo/calibration.json", "--limit", "3", "-o", "ours.gguf",
                    "--hessian", "--threads", "1", "--quiet"])
        seen = json.loads(self.check(["inspect", "ours.gguf", "--against", "pair", "--json"]).out)
        self.assertEqual((seen["missing"], seen["done"], seen["total"]), ([], 3, 3))
        self.assertGreater(seen["moment_bytes"], 0)
        for half in self.halves:
            found = self.peer(half, self.path("ours.gguf"), "IQ2_XXS", "--pure", "--token-embedding-type", "q8_0")
            self.assertEqual({found[name][0] for name in matrices(half)}, {IQ2_XXS})

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
        self.check(["quantize", self.halves[0], "ours.gguf", "IQ2_XXS", "--imatrix", "im.gguf", "--only", "language",
                    "--quiet"])
        ours = read_gguf(self.path("ours.gguf"))[1]
        theirs = self.peer(self.halves[0], self.path("im.gguf"), "IQ2_XXS")
        same = [n for n, t in ours.items() if t.type == IQ2_XXS]
        self.assertGreater(len(same), 10)
        for name in same:
            if theirs[name][0] == IQ2_XXS:
                self.assertEqual(bytes(ours[name].data), theirs[name][1], name)
