"""Calibration of shapes that the demo has not: a tower like SigLIP's, decoders with shared heads, fused matrices and
experts. Nothing may depend on the demo's CLIP and Llama."""
import json
import unittest

import numpy as np

from families import DECODERS, EXPERTS_USED, write_family
from harness import CliTest
from models import read_gguf

PICTURES = ("demo/exam/00003.png", "demo/exam/00005.png")
PATCHES = 16  # of one picture in each half
QUESTION = {"from": "human", "value": "<image>\nwhat is on the right?"}
ANSWER = {"from": "gpt", "value": "a red one is there"}
# Matrices of a block and the one whose input each shares.
DENSE = {"attn_q": "attn_q", "attn_k": "attn_q", "attn_v": "attn_q", "attn_output": "attn_output",
         "ffn_gate": "ffn_gate", "ffn_up": "ffn_gate", "ffn_down": "ffn_down"}
LANGUAGE = {
    "grouped": DENSE,
    "fused": {n: n for n in ("attn_qkv", "attn_output", "ffn_up", "ffn_down")},
    "experts": {**{n: DENSE[n] for n in ("attn_q", "attn_k", "attn_v", "attn_output")},
                "ffn_gate_exps": "ffn_gate_exps", "ffn_up_exps": "ffn_gate_exps",
                "ffn_down_exps": "ffn_down_exps"},
}
TOWER = {"attn_q": "attn_q", "attn_k": "attn_q", "attn_v": "attn_q", "attn_out": "attn_out", "ffn_up": "ffn_up",
         "ffn_down": "ffn_down"}


def matrices(kind):
    """Every matrix that is multiplied, by name."""
    names = [f"blk.{i}.{n}.weight" for i in range(2) for n in LANGUAGE[kind]]
    names += [f"v.blk.{i}.{n}.weight" for i in range(2) for n in TOWER]
    return {*names, "mm.0.weight", "mm.2.weight", "output.weight"}


class Families(CliTest):
    def setUp(self):
        super().setUp()
        records = [{"id": str(i), "image": image, "conversations": [QUESTION, ANSWER]}
                   for i, image in enumerate(PICTURES)]
        with open(self.path("data.json"), "w", encoding="utf-8") as f:
            json.dump(records, f)

    def calibrate(self, kind):
        """The pair's language half, its tensors, and those of its statistics by matrix and kind of figure."""
        language, vision = write_family(self.path("pairs"), kind)
        self.check(["calibrate", language, "--data", "data.json", "--hessian", "-o", "stats.gguf", "-t", 1, "-q"],
                   out="", err="")
        model = {**read_gguf(language)[1], **read_gguf(vision)[1]}
        found = {}
        for name, t in read_gguf(self.path("stats.gguf"))[1].items():
            matrix, _, figure = name.rpartition(".")
            kind_of = np.float64 if t.type == 28 else np.float32
            found.setdefault(figure, {})[matrix] = np.frombuffer(t.data, kind_of).reshape(t.ne[::-1])
        return language, model, found

    def check_shapes(self, kind, model, found):
        self.assertEqual(set(found["in_sum2"]), matrices(kind))
        for name, sums in found["in_sum2"].items():
            columns, experts = model[name].ne[0], model[name].ne[2] if len(model[name].ne) > 2 else 1
            self.assertEqual(sums.shape, (experts, columns), name)
            self.assertEqual(found["counts"][name].size, experts, name)
            self.assertTrue(np.all(sums >= 0) and sums.any(), name)

    def check_tokens(self, kind, found):
        """The last block's feed-forward saw every picture token, and each token its share of the experts."""
        for name, tokens in found["tokens"].items():
            in_tower = name.startswith("v.")
            routes = EXPERTS_USED if "_exps" in name else 1
            pictures = tokens.reshape(-1, 3)[:, 0].sum()
            self.assertEqual(pictures, len(PICTURES) * PATCHES * routes, name)
            behind = tokens.reshape(-1, 3)[:, 1].sum()
            self.assertEqual(behind > 0, not in_tower and not name.startswith("mm."), name)

    def check_moments(self, model, found):
        """A second-moment matrix's diagonal is the sum of squares that stands beside it."""
        for name, rows in found["hessian"].items():
            n = model[name].ne[0]
            diagonal = rows.reshape(-1, n * (n + 1) // 2)[:, np.arange(n) * (np.arange(n) + 3) // 2]
            weighted = found["weighted"][name].reshape(-1, n + 1)[:, :n]
            np.testing.assert_allclose(diagonal, weighted, rtol=1e-4, atol=1e-6, err_msg=name)

    def check_pair(self, language):
        """It can be quantised with these statistics, and looked at."""
        self.check([language, "out", "q4_k", "--stats", "stats.gguf", "-q"], out="", err="")
        self.check(["verify", "out", "--against", language, "-q"])
        result = self.check(["eval", "out", "--against", language, "--data", "data.json", "--json", "-t", 1, "-q"])
        kl = json.loads(result.out)["kl"]["answer"]["mean"]
        self.assertTrue(0 < kl < 1, kl)

    def check_sequential(self, language):
        """Every matrix gets error feedback, on what the quantised blocks before it make of its inputs."""
        args = [language, "in-order", "q4_k", "--data", "data.json", "--sequential", "--json", "-t", 1, "-q"]
        result = self.check(args)
        fed = {t["name"]: t for t in json.loads(result.out)["plan"] if t.get("method") == "feedback"}
        self.assertLessEqual({"v.blk.1.attn_q.weight", "mm.0.weight", "blk.1.attn_output.weight"}, set(fed))
        self.check(["verify", "in-order", "--against", language, "-q"])

    def check_family(self, kind):
        language, model, found = self.calibrate(kind)
        self.check_shapes(kind, model, found)
        self.check_tokens(kind, found)
        self.check_moments(model, found)
        self.check_pair(language)
        self.check_sequential(language)

    def test_grouped(self):
        self.check_family("grouped")

    def test_fused(self):
        self.check_family("fused")

    def test_experts(self):
        self.check_family("experts")

    def test_every_family_is_tested(self):
        self.assertEqual(set(LANGUAGE), set(DECODERS))


if __name__ == "__main__":
    unittest.main()
