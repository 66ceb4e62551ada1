"""The same bytes as llama-quantize, with and without importance data, and the same on any CPU.

The peer of the pinned llama.cpp is found through LQ_LLAMA_BIN; without it the comparison with it is skipped, and
tests/unit/test_codec.c still compares every type with ggml's encoder.
"""
import os
import struct
import subprocess
import unittest

import numpy as np

import models
from harness import DEMO, CliTest

PEER = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-quantize")


def write_imatrix(path, tensors):
    """The older binary form: made-up importance for every matrix."""
    random = np.random.default_rng(1)
    matrices = [(n, t.ne[0]) for n, t in tensors.items() if len(t.ne) == 2]
    with open(path, "wb") as f:
        f.write(struct.pack("<i", len(matrices)))
        for name, columns in matrices:
            f.write(struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 1, columns))
            f.write(random.lognormal(0, 2, columns).astype("<f4").tobytes())


@unittest.skipUnless(os.access(PEER, os.X_OK), "LQ_LLAMA_BIN holds no llama-quantize")
class SameBytes(CliTest):
    def setUp(self):
        super().setUp()
        self.check(["convert", os.path.join(DEMO, "model"), self.path("wide.gguf"), "f16", "--quiet"])

    def compare(self, kind, imatrix=()):
        wide, mine, theirs = self.path("wide.gguf"), self.path("mine.gguf"), self.path("theirs.gguf")
        self.check(["quantize", wide, mine, kind, "--only", "language", "--threads", "3", "--force", "--quiet",
                    *imatrix])
        subprocess.run([PEER, *imatrix, wide, theirs, kind, "2"], check=True, capture_output=True)
        ours, peers = models.read_gguf(mine)[1], models.read_gguf(theirs)[1]
        self.assertEqual(sorted(ours), sorted(peers))
        for name in ours:
            self.assertEqual(ours[name].type, peers[name].type, name)
            self.assertTrue(bytes(ours[name].data) == bytes(peers[name].data), f"{kind}: {name}")

    def test_without_importance(self):
        for kind in ("Q8_0", "Q4_0", "Q5_1", "Q2_K", "Q4_K_M", "Q6_K", "IQ4_NL", "BF16"):
            self.compare(kind)

    def test_with_importance(self):
        imatrix = self.path("imatrix.dat")
        write_imatrix(imatrix, models.read_gguf(self.path("wide.gguf"))[1])
        for kind in ("Q4_0", "Q4_K_M", "Q3_K_S", "IQ2_XS", "IQ3_XXS", "IQ4_XS"):
            self.compare(kind, ("--imatrix", imatrix))


class AnyCpu(CliTest):
    """LQ_CPU forces the kernels of one instruction set; one that is not there changes nothing."""

    def test_same_files(self):
        for kind in ("q8_0", "f16", "bf16", "q4_k"):
            for cpu in ("scalar", "avx2", "none"):
                output = self.path(cpu + ".gguf")
                self.check(["quantize", os.path.join(DEMO, "model"), output, kind, "--force", "--quiet"],
                           env={"LQ_CPU": cpu})
            for other in ("avx2", "none"):
                self.check_same_files(self.path("scalar.gguf"), self.path(other + ".gguf"))
                self.check_same_files(self.path("mmproj-scalar.gguf"), self.path(f"mmproj-{other}.gguf"))


if __name__ == "__main__":
    unittest.main()
