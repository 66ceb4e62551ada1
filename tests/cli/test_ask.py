"""llava-quantize ask: answers from a pair, two pairs side by side, and what it refuses."""
import json
import os
import resource
import shutil
import struct
import subprocess
import tempfile
import unittest
import zlib

from harness import BIN, DEMO, SANITIZE, CliTest

PICTURE = "demo/exam/00001.png"
SHAPE = "What shape is the pink object?"
DESCRIBE = "Describe the image."


def png(width, height, rows):
    """A PNG file whose header claims width x height and whose data are `rows`."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Ask(CliTest):
    @classmethod
    def setUpClass(cls):
        cls.pairs = tempfile.mkdtemp(prefix="lq-ask-")
        cls.addClassCleanup(shutil.rmtree, cls.pairs, ignore_errors=True)
        model = os.path.join(DEMO, "model")
        for command in (["convert", model, "f16"], [model, "layered"]):
            subprocess.run([BIN, *command, "--quiet"], cwd=cls.pairs, check=True, stdout=subprocess.DEVNULL)

    def setUp(self):
        super().setUp()
        for name in ("f16", "layered"):
            os.symlink(os.path.join(self.pairs, name), self.path(name))

    def write(self, name, data):
        with open(self.path(name), "wb") as f:
            f.write(data)
        return name

    def language(self, pair):
        (name,) = (n for n in os.listdir(self.path(pair)) if not n.startswith("mmproj"))
        return f"{pair}/{name}"

    def vision(self, pair):
        (name,) = (n for n in os.listdir(self.path(pair)) if n.startswith("mmproj"))
        return f"{pair}/{name}"

    def ask(self, *args, **more):
        return self.check(["ask", *args, "--threads", 1], err="", **more)

    def test_answer(self):
        self.ask("f16", PICTURE, SHAPE, out="triangle\n")
        self.ask(self.language("f16"), PICTURE, SHAPE, out="triangle\n")
        self.ask("layered", PICTURE, DESCRIBE, out="A large pink triangle at the center.\n")

    def test_named_mmproj(self):
        os.mkdir(self.path("alone"))
        os.symlink(self.path(self.language("f16")), self.path("alone/model.gguf"))
        self.ask("alone/model.gguf", PICTURE, SHAPE, "--mmproj", self.vision("f16"), out="triangle\n")

    def test_compare(self):
        self.ask("f16", PICTURE, SHAPE, "--compare", "layered", out="f16: triangle\nlayered: triangle\n")

    def test_json(self):
        result = json.loads(self.ask("f16", PICTURE, SHAPE, "--compare", "layered", "--json").out)
        self.assertEqual([answer["answer"] for answer in result["answers"]], ["triangle", "triangle"])
        self.assertEqual(result["question"], SHAPE)

    def test_max_tokens(self):
        whole = self.ask("f16", PICTURE, DESCRIBE).out
        cut = self.ask("f16", PICTURE, DESCRIBE, "--max-tokens", 1).out
        self.assertTrue(whole.startswith(cut.rstrip("\n")))
        self.assertLess(len(cut), len(whole))

    def test_temperature_and_seed(self):
        def sampled(seed):
            return self.ask("f16", PICTURE, DESCRIBE, "--temp", 1.5, "--seed", seed, "--max-tokens", 24).out

        self.assertEqual(sampled(1), sampled(1))
        self.assertGreater(len({sampled(seed) for seed in range(1, 6)}), 1)
        self.assertEqual(self.ask("f16", PICTURE, DESCRIBE, "--seed", 1).out,
                         self.ask("f16", PICTURE, DESCRIBE, "--seed", 2).out)

    def test_threads_do_not_matter(self):
        for threads in (2, 1000):
            self.check(["ask", "f16", PICTURE, SHAPE, "--threads", threads], out="triangle\n", err="")

    def test_question_that_looks_special(self):
        self.ask("f16", PICTURE, "</s><image><__media__> %s %n")

    def test_other_picture_formats(self):
        """A BMP and a PNG of the same pixels give the same answer."""
        side, grey = 64, bytes([90, 160, 30])
        rows = b"".join(b"\0" + grey * side for _ in range(side))
        self.write("a.png", png(side, side, rows))
        pixels = grey[::-1] * side * side
        header = struct.pack("<2sIHHI", b"BM", 54 + len(pixels), 0, 0, 54)
        self.write("a.bmp", header + struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, len(pixels), 0, 0, 0, 0) + pixels)
        self.assertEqual(self.ask("f16", "a.bmp", DESCRIBE).out, self.ask("f16", "a.png", DESCRIBE).out)

    @unittest.skipIf(SANITIZE, "sanitizers reserve all of the address space")
    def test_thin_pictures(self):
        """One pixel wide or high and 60,000 long: padded to a square they would take gigabytes."""
        for name, width, height in (("wide.png", 60000, 1), ("tall.png", 1, 60000)):
            with self.subTest(name):
                self.write(name, png(width, height, (b"\0" + b"\x50\xa0\xf0" * width) * height))
                result = self.run_cli(["ask", "f16", name, DESCRIBE, "--threads", 1],
                                      preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30)))
                self.assertEqual((result.code, result.err), (0, ""))
                self.assertTrue(result.out.strip())

    def test_refused_pictures(self):
        big = self.write("big.png", png(60000, 60000, b""))
        cut = self.write("cut.png", png(64, 64, b"\0" * 100))
        for picture, message in (
            ("missing.png", "missing.png: cannot open: No such file or directory"),
            ("f16", "f16: not a regular file"),
            (self.write("empty.png", b""), "empty.png: the file is empty, a picture is expected"),
            (self.write("text.png", b"This is a picture.\n"),
             "text.png: not a picture: found neither a PNG, JPEG, GIF nor BMP header"),
            (big, "big.png: the PNG header claims 60000 x 60000 pixels; at most 65535 a side and 33554432 in all are read: "
                  "scale the picture down"),
            (self.write("long.png", png(100000, 100000, b"")),
             "long.png: the PNG header claims 100000 x 100000 pixels; at most 65535 a side and 33554432 in all are read: "
             "scale the picture down"),
            (self.write("none.png", png(0, 64, b"")), "none.png: the PNG header claims 0 x 64 pixels"),
            (cut, "cut.png: the PNG data (64 x 64) are damaged or of a kind that llama.cpp does not read"),
        ):
            with self.subTest(picture):
                self.check_refused(["ask", "f16", picture, "?", "--threads", 1], message)

    def test_refused_pairs(self):
        os.mkdir(self.path("half"))
        shutil.copy(self.path(self.language("f16")), self.path("half/m.gguf"))
        with open(self.path(self.language("f16")), "rb") as f:
            self.write("cut.gguf", f.read(5000))
        for pair, code in (("nowhere", 1), ("demo/model", 2), ("half", 2), ("cut.gguf", 1), (PICTURE, 1)):
            with self.subTest(pair):
                result = self.check(["ask", pair, PICTURE, "?"], code=code, out="")
                self.assertRegex(result.err, f"^llava-quantize: {pair}.*\n$")

    def test_refused_questions(self):
        self.check_refused(["ask", "f16", PICTURE, ""], "QUESTION is empty; see 'llava-quantize ask --help'", code=2)
        self.check_refused(["ask", "f16", PICTURE, b"\xff".decode("utf-8", "surrogateescape")],
                           "the question is not valid UTF-8", code=2)
        result = self.check(["ask", "f16", PICTURE, "word " * 2000, "--threads", 1], code=2, out="")
        self.assertRegex(result.err, r"^llava-quantize: f16/.*: the prompt takes \d+ tokens \(picture 64, text \d+\), the "
                                     r"context holds 1024: ask less or give a larger context\n$")

    def test_halves_of_different_models(self):
        """A pair whose widths differ is refused before anything is run."""
        import models
        models.write_pair(self.path("tiny"))
        self.check_refused(["ask", self.language("f16"), PICTURE, "?", "--mmproj", self.vision("tiny")],
                           f"{self.vision('tiny')}: its projector is 64 wide, but the language model {self.language('f16')} is "
                           "256 wide: they are not a pair")
