"""What runs a model to quantise it: the same bytes with one thread and with two."""
import os

from harness import DEMO, CliTest


class Threads(CliTest):
    def setUp(self):
        super().setUp()
        self.data = ["--data", os.path.join(DEMO, "calibration.json"), "--limit", 1]

    def test_windows(self):
        """Batches are of 256 tokens: a window of 513 would leave one over, for which llama.cpp's threads share sums."""
        self.check(["convert", os.path.join(DEMO, "model"), "pair", "-q"])
        text = ["--text", os.path.join(DEMO, "text.txt"), "--window", 513]
        for threads in (1, 2):
            self.check(["calibrate", "pair", *self.data, *text, "-t", threads, "-o", f"{threads}.gguf", "-q"])
        self.check_same_files(self.path("1.gguf"), self.path("2.gguf"))

    def test_sequential(self):
        for threads in (1, 2):
            self.check(["quantize", os.path.join(DEMO, "model"), str(threads), "q4_k", *self.data, "--sequential", "-q",
                        "-t", threads])
        for name in ("model-Q4_K.gguf", "mmproj-model-Q4_K.gguf"):
            self.check_same_files(self.path("1", name), self.path("2", name))
