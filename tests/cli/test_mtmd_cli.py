"""The pinned llama.cpp's own client loads the pair that the default recipe makes, and gives the greedy answers of
`ask --stock`, which leaves the tower as llama.cpp 0.5.0 runs it (src/runtime/class_token.h).

LQ_LLAMA_BIN names the folder of llama.cpp's tools.
"""
import os
import re
import subprocess
import unittest

from harness import CliTest

CLIENT = os.path.join(os.environ.get("LQ_LLAMA_BIN", ""), "llama-mtmd-cli")
QUESTIONS = [
    ("00000.png", "Is there a red ring?"),
    ("00000.png", "What is at the center?"),
    ("00001.png", "Where is the triangle?"),
    ("00002.png", "What shape is the white object?"),
    ("00003.png", "How many objects are there?"),
    ("00004.png", "Describe the image."),
    ("00005.png", "What color is the diamond?"),
]
TEMPLATE = ("{% for m in messages %}{% if m['role'] == 'user' %}USER:{{ m['content'] }} ASSISTANT:"
            "{% endif %}{% endfor %}")


@unittest.skipUnless(os.access(CLIENT, os.X_OK), f"no llama-mtmd-cli ('{CLIENT}'); LQ_LLAMA_BIN names its folder")
class MtmdCli(CliTest):
    def client(self, language, mmproj, picture, question):
        """The client's log thread can lose the end of its output on exit, so it is asked again until a whole line came."""
        command = [CLIENT, "-m", language, "--mmproj", mmproj, "--image", picture, "-p", f"<__media__>\n{question}",
                   "--jinja", "--chat-template", TEMPLATE, "--temp", "0", "-n", "64", "-t", "1", "--no-warmup"]
        for _ in range(20):
            done = subprocess.run(command, cwd=self.dir, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            self.assertEqual(done.returncode, 0, done.stderr)
            answer = re.match(r"\n (.+)\n", done.stdout)
            if answer:
                return answer[1]
        self.fail(f"no whole answer in 20 runs; the last: {done.stdout!r}\n{done.stderr}")

    def test_split_language_half(self):
        """The client is given the first shard and finds the others."""
        self.check(["convert", "demo/model", "pair", "--split-size", "3M", "--quiet"])
        (first,) = (n for n in os.listdir(self.path("pair")) if "-00001-of-" in n)
        for picture, question in QUESTIONS[:2]:
            with self.subTest(question):
                picture = f"demo/exam/{picture}"
                ours = self.check(["ask", "pair", picture, question, "--stock", "--threads", 1]).out
                theirs = self.client(f"pair/{first}", "pair/mmproj-model-F16.gguf", picture, question)
                self.assertEqual(ours, theirs + "\n")

    def test_same_answers(self):
        self.check(["demo/model", "pair", "--quiet"])
        (language,) = (n for n in os.listdir(self.path("pair")) if not n.startswith("mmproj"))
        for picture, question in QUESTIONS:
            with self.subTest(question):
                picture = f"demo/exam/{picture}"
                ours = self.check(["ask", "pair", picture, question, "--stock", "--threads", 1]).out
                theirs = self.client(f"pair/{language}", f"pair/mmproj-{language}", picture, question)
                self.assertEqual(ours, theirs + "\n")
