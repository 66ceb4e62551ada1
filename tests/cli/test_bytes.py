"""The same bytes as llama-quantize where ggml encodes, with and without importance data, and the same on any CPU.

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

# Ids of the types whose encoders are ours and find smaller errors than ggml's, so that the bytes differ: q4_0, q4_1,
# q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq4_xs, mxfp4.
OURS = (2, 3, 6, 7, 10, 11, 12, 13, 14, 20, 23, 39)
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
        self.assertEqual({n: t.type for n, t in ours.items()}, {n: t.type for n, t in peers.items()})
        for name, tensor in ours.items():
            if tensor.type not in OURS:
                self.assertTrue(bytes(tensor.data) == bytes(peers[name].data), f"{kind}: {name}")

    def test_without_importance(self):
        for kind in ("Q8_0", "BF16", "F16", "TQ2_0", "Q4_K_M"):
            self.compare(kind)

    def test_with_importance(self):
        imatrix = self.path("imatrix.dat")
        write_imatrix(imatrix, models.read_gguf(self.path("wide.gguf"))[1])
        for kind in ("IQ2_XS", "IQ3_XXS", "Q4_K_M"):
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
