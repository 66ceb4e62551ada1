"""`eval --text` measures what llama-perplexity of the pinned llama.cpp measures: the same windows, positions, figures.

Source: tools/perplexity/perplexity.cpp of llama.cpp 0.5.0. The text is tokenised once and cut into windows; what does
not fill a window is left out; a window's first token gives way to the beginning-of-sequence token, and the tokens
behind its first half count. LQ_LLAMA_BIN names the folder of llama.cpp's tools.
"""
import json
import os
import re
import subprocess
import unittest

from harness import CliTest

WINDOWS = 12  # the first ones: enough for thousands of tokens
PEER = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-perplexity")
# The peer keeps the original's log-probabilities in 16 bits over a range of 16, so each is off by at most half a step.
# One token's divergence, a mean over its vocabulary, is off by no more than that; the errors of many tokens cancel.
HALF_STEP = 16 / 65535 / 2
LINE = re.compile(r"^ *(Mean PPL\(Q\)|[\w.%]+ +KLD|(?:Mean|RMS) +Δp|Same top p) *: +(-?[\d.]+)", re.M)
PERCENTILES = {"Median KLD": "median", "90.0% KLD": "p90", "99.0% KLD": "p99", "99.9% KLD": "p999",
               "Maximum KLD": "max"}


@unittest.skipUnless(os.access(PEER, os.X_OK), f"no llama-perplexity ('{PEER}'); LQ_LLAMA_BIN names its folder")
class TextKl(CliTest):
    def setUp(self):
        super().setUp()
        self.check(["convert", "demo/model", "f16.gguf", "f16", "--quiet"])
        self.check(["quantize", "f16.gguf", "small.gguf", "q4_k_s", "--quiet"])

    def peer(self, model, window, end, *more):
        """What it prints. Its log thread can lose the end of it on exit, so it is run again until `end` is there."""
        command = [PEER, "-m", model, "-c", str(window), "-b", str(window), "-t", "1", "--no-warmup",
                   "--kl-divergence-base", "logits.bin", *more]
        for _ in range(20):
            done = subprocess.run(command, cwd=self.dir, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            self.assertEqual(done.returncode, 0, done.stderr)
            if re.search(end, done.stdout):
                return done.stdout
        self.fail(f"no '{end}' in 20 runs; the last: {done.stdout}\n{done.stderr}")

    def ask_peer(self, window):
        """Its figures by its names for them, and the number of windows."""
        last = rf"\[{WINDOWS}\]([\d.]+),"  # the perplexity up to that window; with --kl-divergence it lacks small p
        first = self.peer("f16.gguf", window, last, "-f", "demo/text.txt", "--chunks", str(WINDOWS))
        out = self.peer("small.gguf", window, "Same top p: .*%\n", "--kl-divergence")
        figures = {re.sub(" +", " ", name): float(value) for name, value in LINE.findall(out)}
        figures["PPL(base)"] = float(re.search(last, first)[1])
        return figures, len(re.findall(r"(?m)^ *\d+ .*%$", out))

    def test_figures(self):
        out = self.check(["eval", "small.gguf", "--against", "f16.gguf", "--text", "demo/text.txt", "--threads", 1,
                          "--limit", WINDOWS, "--json", "--quiet"]).out
        ours = json.loads(out)
        window = ours["provenance"]["window"]
        peer, windows = self.ask_peer(window)
        tokens = ours["counts"]["text_tokens"]
        kl, dp, perplexity = (ours[name]["text"] for name in ("kl", "dp", "perplexity"))

        self.assertEqual(ours["provenance"]["text_windows"], windows)
        self.assertEqual(tokens, windows * (window - 1 - window // 2))
        self.assertGreater(peer["Mean KLD"], 1e-4, "too small to be compared")
        self.assertAlmostEqual(kl["mean"], peer["Mean KLD"], delta=1e-2 * peer["Mean KLD"] + 1e-5)
        for name, member in PERCENTILES.items():
            self.assertAlmostEqual(kl[member], peer[name], delta=1e-2 * peer[name] + HALF_STEP, msg=name)
        same_top = 100 * ours["agreement"]["text"]
        self.assertAlmostEqual(same_top, peer["Same top p"], delta=100 * 2 / tokens + 1e-3)  # ties of 16 bits
        self.assertAlmostEqual(100 * dp["mean"], peer["Mean Δp"], delta=2e-3)
        self.assertAlmostEqual(100 * dp["rms"], peer["RMS Δp"], delta=2e-3 + 1e-2 * peer["RMS Δp"])
        self.assertAlmostEqual(perplexity["quantised"], peer["Mean PPL(Q)"], delta=1e-4 * peer["Mean PPL(Q)"])
        self.assertAlmostEqual(perplexity["original"], peer["PPL(base)"], delta=1e-4 * peer["PPL(base)"])


if __name__ == "__main__":
    unittest.main()
