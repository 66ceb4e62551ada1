"""Pairs of shapes that the demo has not: a tower like SigLIP's, decoders with shared heads, fused matrices, experts."""
import json
import unittest

from families import DECODERS, write_family
from harness import CliTest

PICTURE = "demo/exam/00003.png"


class Families(CliTest):
    def test_runs(self):
        for kind in DECODERS:
            with self.subTest(kind):
                language, _ = write_family(self.path("pairs"), kind)
                out = self.check(["ask", language, PICTURE, "what", "--json", "--max-tokens", 4, "-t", 1], err="").out
                self.assertEqual(json.loads(out)["question"], "what")


if __name__ == "__main__":
    unittest.main()
