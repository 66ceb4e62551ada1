"""verify as a user runs it: whole pairs, every kind of damage, the distance from an original, recorded sums."""
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import unittest

import numpy as np

from bad_files import GGUF, info, gguf
from harness import CliTest, read_bytes
from models import Shape, Tensor, random_weights, read_gguf, tensor, write_gguf, write_llava, write_pair

I32, Q8_0 = 26, 8
FINE, WRONG, MISUSE, DIFFERS = 0, 1, 2, 3
LANGUAGE, VISION = "tiny-Q8_0.gguf", "mmproj-tiny-Q8_0.gguf"


def edit_tensor(half, name, new):
    """An edit for write_pair that replaces a tensor by new(old)."""
    def edit(which, keys, tensors):
        if which == half:
            tensors[name] = new(tensors[name])
    return edit


def edit_keys(half, change):
    def edit(which, keys, tensors):
        if which == half:
            change(keys)
    return edit


def data_start(path):
    """Where tensor data begin, and how many bytes each tensor has, in file order."""
    _, tensors = read_gguf(path)
    sizes = [len(t.data) for t in tensors.values()]
    return os.path.getsize(path) - sum(n + -n % 32 for n in sizes), sizes


class VerifyTest(CliTest):
    def pair(self, folder="tiny", **more):
        return write_pair(self.path(folder), **more)

    def quantised(self, source="tiny", output="out", spec="q8_0"):
        self.check([source, output, spec, "--quiet"])
        return self.path(output, LANGUAGE), self.path(output, VISION)

    def change_byte(self, path, at, value=None):
        with open(path, "r+b") as f:
            f.seek(at)
            old = f.read(1)[0]
            f.seek(at)
            f.write(bytes([old ^ 1 if value is None else value]))

    def verify(self, *args, code=FINE):
        """The JSON object."""
        return json.loads(self.check(["verify", *args, "--json", "--quiet"], code=code, err="").out)

    def states(self, seen):
        return {c["name"]: c["state"] for c in seen["checks"]}

    def finding(self, seen, check, *texts):
        """The only finding; it is one of `check` and says all of `texts`."""
        self.assertEqual([f["check"] for f in seen["findings"]], [check], seen["findings"])
        self.assertEqual(self.states(seen)[check], "failed")
        self.assertFalse(seen["fine"])
        for text in texts:
            self.assertIn(text, seen["findings"][0]["text"])


class Whole(VerifyTest):
    def test_demo(self):
        self.check(["demo/model", "out", "--quiet"])
        for name, args in (("verify-demo.txt", []), ("verify-demo-against.txt", ["--against", "demo/model", "--all"])):
            out = self.check(["verify", "out", *args]).out
            self.check_golden(name, re.sub(r"\b[0-9a-f]{32}\b", "ID", out))

    def test_every_spec_and_either_half(self):
        self.pair()
        for spec in ("layered", "4", "Q4_K_M", "f32", "bf16"):
            out = f"out-{spec}"
            self.check(["tiny", out, spec, "--quiet"])
            for case in ([out], [out, "--against", "tiny"], [out, "--threads", "1"]):
                seen = self.verify(*case)
                self.assertTrue(seen["fine"])
                self.assertEqual(self.states(seen)["content"], "passed", (spec, case))
        seen = self.verify("out-4", "--only", "vision", "--against", "tiny")
        self.assertEqual(self.states(seen)["content"], "skipped")
        self.check(["tiny", "alone.gguf", "q8_0", "--only", "vision", "--quiet"])
        self.assertEqual(self.states(self.verify("alone.gguf"))["content"], "passed")

    def test_another_program_s_pair(self):
        self.pair()
        seen = self.verify("tiny")
        states = self.states(seen)
        self.assertEqual((states["pair-id"], states["content"]), ("skipped", "skipped"))
        self.assertEqual({states[c] for c in ("structure", "shapes", "values", "padding")}, {"passed"})

    def test_fix_of_the_feature_layer_keeps_the_id(self):
        self.pair(edit=edit_keys("vision", lambda keys: keys.pop("clip.vision.feature_layer")))
        _, vision = self.quantised()
        keys, tensors = read_gguf(vision)
        write_gguf(vision, {**keys, "clip.vision.feature_layer": [2]}, tensors)
        self.assertEqual(self.states(self.verify("out"))["content"], "passed")

    def test_shards(self):
        self.pair(shape=Shape(hidden=512, ff=1024))
        self.check(["tiny", "out", "q8_0", "--quiet", "--split-size", "1M"])
        shards = [name for name in os.listdir(self.path("out")) if "-of-" in name]
        self.assertGreater(len(shards), 2)
        seen = self.verify("out", "--against", "tiny", "--hash", "sums")
        self.assertTrue(seen["fine"])
        self.assertEqual(self.states(seen)["content"], "passed")
        self.assertEqual(len(read_bytes(self.path("sums")).splitlines()), 2 * (len(shards) + 1))
        last = self.path("out", max(shards))
        self.change_byte(last, data_start(last)[0])
        seen = self.verify("out", "--hash", "sums", code=DIFFERS)
        self.assertEqual({f["check"] for f in seen["findings"]}, {"content", "sums"})
        self.assertIn(max(shards), next(f["text"] for f in seen["findings"] if f["check"] == "sums"))

    def test_threads_do_not_matter(self):
        self.pair(shape=Shape(hidden=512, ff=1024, heads=8, kv_heads=8))
        self.check(["tiny", "out", "4", "--quiet"])
        outs = [self.verify("out", "--against", "tiny", "--threads", n) for n in (1, 2, 7)]
        self.assertEqual(outs[0], outs[1])
        self.assertEqual(outs[0], outs[2])

    def test_quiet_says_nothing(self):
        self.pair()
        self.check(["verify", "tiny", "--quiet"], out="", err="")


class Damage(VerifyTest):
    def setUp(self):
        super().setUp()
        self.pair()
        self.language, self.vision = self.quantised()

    def test_any_bit_of_any_tensor(self):
        rng = np.random.default_rng(5)
        for path in (self.language, self.vision):
            start, sizes = data_start(path)
            at = start
            for size in sizes:
                place = at + 2 + int(rng.integers(size - 2))  # past the first scale: stays finite
                place -= place % 2 if size % 2 == 0 else 0    # lower bytes of scales and floats
                self.change_byte(path, place)
                seen = self.verify("out", code=DIFFERS)
                self.finding(seen, "content", "the data's hash is", LANGUAGE)
                self.change_byte(path, place)
                at += size + -size % 32
        self.assertTrue(self.verify("out")["fine"])

    def test_padding(self):
        with open(self.language, "ab") as f:
            f.write(bytes(64))
        self.finding(self.verify("out", code=DIFFERS), "padding", "64 bytes stand behind the last tensor")

    def test_padding_between_tensors(self):
        def add_odd_table(half, keys, tensors):
            if half == "language":
                last = tensors.pop("output.weight")
                tensors.update({"rope_freqs.weight": tensor(np.ones(3)), "output.weight": last})
        path, _ = self.pair("odd", edit=add_odd_table)
        at = os.path.getsize(path) - data_start(path)[1][-1] - 20
        self.change_byte(path, at)
        self.finding(self.verify("odd", code=DIFFERS), "padding",
                     f"byte {at}, in the padding behind tensor 'rope_freqs.weight', is not zero")

    def test_value_that_is_not_finite(self):
        for value, kind in ((np.nan, "f32"), (np.inf, "f16"), (-np.inf, "bf16")):
            def poison(old):
                array = old.array().copy()
                array[5, 7] = value
                return tensor(array, kind)
            self.pair("bad", edit=edit_tensor("language", "blk.1.ffn_up.weight", poison))
            self.finding(self.verify("bad", code=DIFFERS), "values", "tensor 'blk.1.ffn_up.weight'",
                         "the value at row 5, column 7 is not finite")
            shutil.rmtree(self.path("bad"))

    def test_scale_that_is_not_finite(self):
        def poison(old):
            blocks = np.zeros((old.ne[1], old.ne[0] // 32, 34), np.uint8)
            blocks[3, 1, 1] = 0x7c
            return Tensor(Q8_0, old.ne, blocks.tobytes())
        self.pair("bad", edit=edit_tensor("vision", "v.blk.0.attn_q.weight", poison))
        self.finding(self.verify("bad", code=DIFFERS), "values", "tensor 'v.blk.0.attn_q.weight'",
                     "the scale of the block at row 3, column 32 is not finite")

    def test_halves_of_two_runs(self):
        self.quantised(output="other", spec="q4_0")
        shutil.copy(self.path("other", "mmproj-tiny-Q4_0.gguf"), self.vision)
        self.finding(self.verify("out", code=DIFFERS), "pair-id", "the files come from two runs")
        shutil.copy(self.path("tiny", "mmproj-tiny.gguf"), self.vision)
        self.finding(self.verify("out", code=DIFFERS), "pair-id", "has no key 'llava_quantize.pair_id'")

    def test_shapes_that_contradict_the_metadata(self):
        cases = {
            "blk.0.ffn_gate.weight": edit_keys("language", lambda k: k.update({"llama.feed_forward_length": 96})),
            "token_embd.weight": edit_keys("language", lambda k: k.update(
                {"tokenizer.ggml.tokens": k["tokenizer.ggml.tokens"][:-1]})),
            "'blk.1.attn_v.weight' is missing": lambda h, k, t: t.pop("blk.1.attn_v.weight", None),
            "'v.blk.1.ln1.weight' is missing": lambda h, k, t: t.pop("v.blk.1.ln1.weight", None),
            "v.position_embd.weight": edit_keys("vision", lambda k: k.update({"clip.vision.image_size": 64})),
            "llama.context_length": edit_keys("language", lambda k: k.pop("llama.context_length")),
            "no pair": edit_keys("language", lambda k: k.update({"llama.embedding_length": 128})),
        }
        for i, (text, edit) in enumerate(cases.items()):
            with self.subTest(text):
                self.pair(f"bad{i}", edit=edit)
                seen = self.verify(f"bad{i}", code=DIFFERS)
                self.assertEqual({f["check"] for f in seen["findings"]}, {"shapes"})
                self.assertIn(text, " ".join(f["text"] for f in seen["findings"]))

    def test_text(self):
        start, _ = data_start(self.language)
        self.change_byte(self.language, start + 2)
        out = self.check(["verify", "out"], code=DIFFERS).out
        self.assertRegex(out, r"(?m)^content +FAILED$")
        self.assertRegex(out, r"\nFound:\ncontent: \S+tiny-Q8_0.gguf: the data's hash is [0-9a-f]{32}, but ")
        quiet = self.check(["verify", "out", "--quiet"], code=DIFFERS, err="").out
        self.assertEqual(quiet, out.split("Found:\n")[1])


class Against(VerifyTest):
    def test_numbers(self):
        """Against the same sums in numpy, on an original of every kind."""
        shape = Shape(hidden=320, ff=640, heads=4, kv_heads=4, vision_hidden=96)
        weights = random_weights(shape, 3)
        for dtype in ("f16", "bf16", "f32"):
            with self.subTest(dtype):
                self.pair("from-" + dtype, shape=shape, weights=weights, dtype=dtype)
                self.quantised("from-" + dtype, "out-" + dtype)
                seen = self.verify("out-" + dtype, "--against", "from-" + dtype)
                by_name = {t["name"]: t for t in seen["tensors"]}
                for half, file in (("", "tiny"), ("mmproj-", "mmproj-tiny")):
                    _, before = read_gguf(self.path("from-" + dtype, file + ".gguf"))
                    _, after = read_gguf(self.path("out-" + dtype, file + "-Q8_0.gguf"))
                    for name, t in after.items():
                        self.compare(by_name[name], before[name], t)

    def compare(self, row, before, after):
        w = before.array().astype(np.float64)
        if after.type != Q8_0:
            self.assertEqual((row["relative_error"], row["worst_block"]), (0, None), row)
            return
        blocks = np.frombuffer(after.data, np.uint8).reshape(-1, 34)
        scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
        q = (scale * blocks[:, 2:].view(np.int8)).astype(np.float64).reshape(w.shape)
        error = np.sqrt(((w - q) ** 2).sum() / (w ** 2).sum())
        self.assertAlmostEqual(row["relative_error"] / error, 1, delta=1e-5)
        worst = max((float(np.sqrt((d ** 2).sum() / (x ** 2).sum())), -r, -c)
                    for r in range(w.shape[0]) for c in range(0, w.shape[1], 256)
                    for x, d in [(w[r, c:c + 256], (w - q)[r, c:c + 256])])
        self.assertAlmostEqual(row["worst_block"]["relative_error"] / worst[0], 1, delta=1e-5)
        self.assertEqual((row["worst_block"]["row"], row["worst_block"]["column"]), (-worst[1], -worst[2]))

    def test_a_hugging_face_folder(self):
        shape = Shape(kv_heads=2)
        weights = random_weights(shape)
        write_llava(self.path("hf"), shape, weights, shards=2)
        self.check(["hf", "out", "f32", "--quiet"])
        seen = self.verify("out", "--against", "hf", "--max-error", "0")
        self.assertEqual({t["relative_error"] for t in seen["tensors"]}, {0})
        self.check(["hf", "out4", "4", "--quiet"])
        self.assertGreater(self.verify("out4", "--against", "hf")["halves"]["language"]["relative_error"], 0.01)

    def test_max_error(self):
        self.pair()
        self.quantised()
        self.verify("out", "--against", "tiny", "--max-error", "5")
        seen = self.verify("out", "--against", "tiny", "--max-error", "0.1", code=DIFFERS)
        self.assertEqual({f["check"] for f in seen["findings"]}, {"error"})
        self.assertIn("from the original, more than 0.100 %", seen["findings"][0]["text"])

    def test_tensors_and_keys_that_differ(self):
        self.pair()
        cases = {
            "tensors|has no tensor 'output.weight', but": lambda h, k, t: t.pop("output.weight", None),
            "tensors|tensor 'blk.0.ffn_up.weight' is 64 x 96, but 64 x 128 in": edit_tensor(
                "language", "blk.0.ffn_up.weight", lambda t: tensor(t.array()[:96], "f16")),
            "metadata|key 'llama.rope.freq_base' has another value": edit_keys(
                "language", lambda k: k.update({"llama.rope.freq_base": 5000.0})),
            "metadata|key 'general.name' is missing; the original has it": edit_keys(
                "vision", lambda k: k.pop("general.name")),
            "metadata|key 'general.author' is not in the original": edit_keys(
                "vision", lambda k: k.update({"general.author": "somebody"})),
            "metadata|key 'clip.vision.image_mean' has another value": edit_keys(
                "vision", lambda k: k.update({"clip.vision.image_mean": [0.5, 0.5, 0.5]})),
        }
        for i, (case, edit) in enumerate(cases.items()):
            with self.subTest(case):
                check, text = case.split("|")
                self.pair(f"other{i}", edit=edit)
                seen = self.verify(f"other{i}", "--against", "tiny", code=DIFFERS)
                said = [f["text"] for f in seen["findings"] if f["check"] == check]
                self.assertEqual(len(said), 1, seen["findings"])
                self.assertIn(text, said[0])

    def test_expected_keys(self):
        self.pair()
        self.quantised()
        keys = self.verify("out", "--against", "tiny")["keys"]
        self.assertTrue(all(k["expected"] for k in keys))
        self.assertIn({"half": "vision", "key": "general.file_type", "change": "changed", "expected": True}, keys)
        self.assertIn({"half": "language", "key": "llava_quantize.pair_id", "change": "added", "expected": True}, keys)
        back = self.verify("tiny", "--against", "out")["keys"]
        self.assertIn({"half": "language", "key": "llava_quantize.plan", "change": "removed", "expected": True}, back)

    def test_a_half_that_is_missing(self):
        self.pair()
        language, vision = self.quantised()
        os.remove(vision)
        self.finding(self.verify("out", "--against", "tiny", code=DIFFERS), "tensors", "has no vision half",
                     "say so with --only")
        self.assertTrue(self.verify("out", "--against", "tiny", "--only", "language")["fine"])

    def test_an_original_that_is_not_finite(self):
        def poison(old):
            array = old.array().copy()
            array[2, 3] = np.inf
            return tensor(array, "f16")
        self.pair()
        self.pair("bad", edit=edit_tensor("language", "blk.0.attn_q.weight", poison))
        self.finding(self.verify("tiny", "--against", "bad", code=DIFFERS), "values", "bad/tiny.gguf",
                     "the value at row 2, column 3 is not finite")

    def test_zeros_that_became_something(self):
        zero = edit_tensor("language", "blk.0.attn_q.weight", lambda t: tensor(t.array() * 0, "f16"))
        self.pair()
        self.pair("zero", edit=zero)
        seen = self.verify("tiny", "--against", "zero")
        row = next(t for t in seen["tensors"] if t["name"] == "blk.0.attn_q.weight")
        self.assertEqual(row["worst_block"],
                         {"relative_error": None, "tensor": row["name"], "row": 0, "column": 0})
        self.assertIn("infinite", self.check(["verify", "tiny", "--against", "zero"]).out)

    def test_data_without_weights(self):
        def table(values):
            def edit(half, keys, tensors):
                if half == "language":
                    tensors["a.table"] = Tensor(I32, (4,), struct.pack("<4i", *values))
            return edit
        self.pair(edit=table([1, 2, 3, 4]))
        self.pair("other", edit=table([1, 2, 3, 5]))
        self.assertTrue(self.verify("tiny", "--against", "tiny")["fine"])
        self.finding(self.verify("tiny", "--against", "other", code=DIFFERS), "tensors", "tensor 'a.table' (i32)",
                     "is not a copy of the original")


class Sums(VerifyTest):
    def setUp(self):
        super().setUp()
        self.pair()
        self.language, self.vision = self.quantised()

    def test_recorded_and_checked(self):
        seen = self.verify("out", "--hash", "out/SHA256SUMS")
        self.assertEqual(self.states(seen)["sums"], "passed")
        lines = read_bytes(self.path("out", "SHA256SUMS")).decode().splitlines()
        start, _ = data_start(self.language)
        data = read_bytes(self.language)
        self.assertIn(f"{hashlib.sha256(data).hexdigest()}  {LANGUAGE}", lines)
        self.assertIn(f"#data {hashlib.sha256(data[start:]).hexdigest()}  {LANGUAGE}", lines)
        self.assertEqual(len(lines), 4)
        done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=self.path("out"),
                              capture_output=True, text=True)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.states(self.verify("out", "--hash", "out/SHA256SUMS"))["sums"], "passed")
        with open(self.path("out", "SHA256SUMS"), "w", encoding="ascii") as f:  # as sha256sum itself writes it
            subprocess.run(["sha256sum", "-b", "out/" + LANGUAGE, "out/" + VISION], cwd=self.dir, stdout=f, check=True)
        self.assertEqual(self.states(self.verify("out", "--hash", "out/SHA256SUMS"))["sums"], "passed")

    def test_changed_data(self):
        self.pair("plain")
        self.verify("plain", "--hash", "sums")
        path = self.path("plain", "tiny.gguf")
        self.change_byte(path, data_start(path)[0] + 4)
        self.finding(self.verify("plain", "--hash", "sums", code=DIFFERS), "sums",
                     "plain/tiny.gguf: SHA-256 of the tensor data is ", " in sums")

    def test_changed_metadata(self):
        self.verify("out", "--hash", "sums")
        keys, tensors = read_gguf(self.language)
        write_gguf(self.language, {**keys, "general.author": "somebody"}, tensors)
        self.finding(self.verify("out", "--hash", "sums", code=DIFFERS), "sums",
                     "the metadata have changed since sums was written; the tensor data are the same")

    def test_no_sum(self):
        self.verify("out", "--hash", "sums", "--only", "vision")
        self.finding(self.verify("out", "--hash", "sums", code=DIFFERS), "sums", f"sums: has no sum for '{LANGUAGE}'")

    def test_not_recorded_when_something_was_found(self):
        self.change_byte(self.language, data_start(self.language)[0] + 2)
        seen = self.verify("out", "--hash", "sums", code=DIFFERS)
        self.assertEqual(self.states(seen)["sums"], "skipped")
        self.assertFalse(os.path.exists(self.path("sums")))

    def test_no_file_of_sums(self):
        for text in ("hello\n", "abc  x\n", "0" * 64 + " \n", "#data\n#data 12  x\n"):
            with open(self.path("sums"), "w", encoding="ascii") as f:
                f.write(text)
            line = text.count("\n")
            self.check_refused(["verify", "out", "--quiet", "--hash", "sums"],
                               f"sums: line {line} is no SHA-256 sum as sha256sum writes them: \"SUM  NAME\"")

    def test_unwritable(self):
        self.check_refused(["verify", "out", "--quiet", "--hash", "no/such/folder"],
                           "no/such/folder: cannot create: No such file or directory")


class Refused(VerifyTest):
    def test_a_type_from_the_future(self):
        with open(self.path("new.gguf"), "wb") as f:
            f.write(gguf(infos=[info("blk.0.ffn_up.weight", (256, 8), kind=137)]))
        self.check_refused(["verify", "new.gguf"], "new.gguf: unknown type 137 in tensor 'blk.0.ffn_up.weight'")

    def test_every_malformed_file(self):
        for case, data in GGUF.items():
            with self.subTest(case):
                with open(self.path("bad.gguf"), "wb") as f:
                    f.write(data)
                result = self.run_cli(["verify", "bad.gguf"])
                self.assertEqual((result.code, result.out), (WRONG, ""), result.err)
                self.assertRegex(result.err, r"\Allava-quantize: bad\.gguf: .*\n\Z")

    def test_wrong_use(self):
        write_llava(self.path("hf"))
        self.pair()
        self.check_refused(["verify", "hf"], "hf: is a Hugging Face folder, expected a GGUF pair", code=MISUSE)
        for option in (["--max-error", "5"], ["--against-mmproj", "x.gguf"]):
            self.check_refused(["verify", "tiny", *option],
                               f"{option[0]} needs --against; see 'llava-quantize verify --help'", code=MISUSE)
        self.check_refused(["verify", "tiny", "--against", "nowhere"], "nowhere: cannot open: No such file or directory")


if __name__ == "__main__":
    unittest.main()
