"""inspect as a user runs it: exact text, the JSON, every finding, bounded memory; and convert --fix-feature-layer."""
import json
import os
import struct
import subprocess
import sys
import time
import unittest

import numpy as np

from bad_files import GGUF
from harness import BIN, SANITIZE, CliTest, snapshot
from models import (BF16, Shape, Tensor, encode, gguf_string, gguf_value, random_weights, read_gguf, tensor,
                    write_gguf, write_llava, write_pair)

Q4_0, Q8_0, I32, TQ1_0, TQ2_0, NVFP4 = 2, 8, 26, 34, 35, 40
NOTHING = "\nNothing looks wrong.\n"

# Run as a small process of its own: a child's peak counts what its parent had before exec.
MEASURE = """
import os, sys
null = (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[null])
_, status, usage = os.wait4(pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss)
"""


def drop(half, key):
    """An edit for write_pair that removes a key of one half."""
    def edit(which, keys, tensors):
        if which == half:
            del keys[key]
    return edit


def change(half, **values):
    """An edit for write_pair that sets keys ("a__b" stands for "a.b") of one half."""
    def edit(which, keys, tensors):
        if which == half:
            keys.update({name.replace("__", "."): value for name, value in values.items()})
    return edit


def swap(half, name, new):
    """An edit for write_pair that replaces a tensor by new(old)."""
    def edit(which, keys, tensors):
        if which == half:
            tensors[name] = new(tensors[name])
    return edit


def zeros(kind, block, size):
    """A tensor of the same shape in another type, all bytes zero."""
    return lambda t: Tensor(kind, t.ne, b"\0" * (int(np.prod(t.ne)) // block * size))


def poison(**at):
    """Sets weights by flat index: poison(i3=np.nan)."""
    def new(t):
        array = t.array().copy()
        for index, value in at.items():
            array.flat[int(index[1:])] = value
        return Tensor(t.type, t.ne, encode(array, "f16" if t.type == 1 else "f32"))
    return new


class InspectTest(CliTest):
    def json(self, *args):
        return json.loads(self.check(["inspect", *args, "--json", "-q"], err="").out)

    def findings(self, *args):
        return {f["id"]: f for f in self.json(*args)["findings"]}


class Contents(InspectTest):
    def test_text_of_a_folder(self):
        result = self.check(["inspect", "demo/model"], err="")
        self.check_golden("inspect-demo.txt", result.out)

    def test_text_of_a_pair(self):
        write_pair(self.path("in"))
        self.check_golden("inspect-pair.txt", self.check(["inspect", "in"], err="").out)
        self.assertEqual(self.check(["inspect", "in/tiny.gguf"]).out, self.check(["inspect", "in"]).out)

    def test_all(self):
        write_pair(self.path("in"))
        text = self.check(["inspect", "in", "--all"], err="").out
        self.check_golden("inspect-pair-all.txt", text)

    def test_json_of_a_pair(self):
        shape = Shape()
        write_pair(self.path("in"), shape=shape)
        seen = self.json("in")
        self.assertEqual([seen[k] for k in ("command", "path", "name", "format")], ["inspect", "in", "tiny", "gguf"])
        self.assertEqual(seen["findings"], [])
        self.assertNotIn("tensors", seen)
        self.assertEqual(seen["tokenizer"]["tokens"], shape.vocab)
        self.assertEqual((seen["tokenizer"]["bos"], seen["tokenizer"]["eos"]), (1, 2))
        for half, path in (("vision", "mmproj-tiny.gguf"), ("language", "tiny.gguf")):
            keys, tensors = read_gguf(self.path("in", path))
            found = seen["halves"][half]
            self.assertEqual(found["path"], f"in/{path}")
            self.assertEqual(found["tensors"], len(tensors))
            self.assertEqual(found["bytes"], sum(len(t.data) for t in tensors.values()))
            self.assertEqual(found["weights"], sum(int(np.prod(t.ne)) for t in tensors.values()))
            self.assertAlmostEqual(found["bpw"], found["bytes"] * 8 / found["weights"], 6)
            self.assertEqual(sum(r["bytes"] for r in found["roles"]), found["bytes"])
            self.assertEqual(found["metadata"], {k: v for k, v in keys.items() if k.startswith("general.")})

    def test_json_of_everything(self):
        write_pair(self.path("in"), edit=change("vision", a__null=float("nan"), a__list=list(range(17)),
                                               a__short=[1, 2], a__big=(10, struct.pack("<Q", 2**64 - 1)),
                                               a__minus=(5, struct.pack("<i", -7)), a__text="caf\xe9 \x1b[0m\n"))
        seen = self.json("in", "--all")
        keys, tensors = read_gguf(self.path("in/mmproj-tiny.gguf"))
        found = seen["halves"]["vision"]["metadata"]
        self.assertEqual(set(found), set(keys))
        self.assertIsNone(found["a.null"])
        self.assertEqual(found["a.list"], {"type": "i32", "count": 17, "first": list(range(16))})
        self.assertEqual(found["a.short"], [1, 2])
        self.assertEqual((found["a.big"], found["a.minus"], found["a.text"]), (str(2**64 - 1), -7, "caf\xe9 \x1b[0m\n"))
        self.assertEqual(found["clip.vision.feature_layer"], keys["clip.vision.feature_layer"])
        self.assertEqual(found["clip.use_gelu"], False)
        listed = {t["name"]: t for t in seen["tensors"] if t["half"] == "vision"}
        self.assertEqual({n: tuple(t["shape"]) for n, t in listed.items()}, {n: t.ne for n, t in tensors.items()})
        self.assertEqual(listed["v.blk.0.ffn_up.weight"]["role"], "vision.ffn.up")
        self.assertEqual(listed["v.blk.1.ffn_up.weight"]["block"], 1)
        self.assertNotIn("weights", listed["v.blk.0.ffn_up.weight"])

    def test_no_control_characters_on_the_terminal(self):
        write_pair(self.path("in"), edit=change("vision", general__name="a\x1b[31mb\nc"))
        text = self.check(["inspect", "in", "--all"]).out
        self.assertNotIn("\x1b", text)
        self.assertIn("general.name = a?[31mb c\n", text)

    def test_hugging_face_and_its_pair_agree(self):
        write_llava(self.path("in"))
        self.check(["convert", "in", "out", "-q"])
        a, b = self.json("in", "--all"), self.json("out", "--all")
        self.assertEqual((a["format"], b["format"]), ("hugging-face", "gguf"))
        self.assertEqual({t["name"]: (t["shape"], t["role"]) for t in a["tensors"]},
                         {t["name"]: (t["shape"], t["role"]) for t in b["tensors"]})
        self.assertEqual(a["tokenizer"], b["tokenizer"])

    def test_one_half(self):
        write_pair(self.path("in"))
        for args in (["in", "--only", "vision"], ["in/mmproj-tiny.gguf"]):
            self.assertEqual(list(self.json(*args)["halves"]), ["vision"])
            self.assertNotIn("tokenizer", self.json(*args))
        self.assertEqual(list(self.json("in", "--only", "language")["halves"]), ["language"])

    def test_named_mmproj(self):
        write_pair(self.path("in"))
        os.rename(self.path("in/mmproj-tiny.gguf"), self.path("tower.gguf"))
        self.assertEqual(list(self.json("in/tiny.gguf", "--mmproj", "tower.gguf")["halves"]), ["vision", "language"])

    def test_a_file_with_no_tokenizer(self):
        write_gguf(self.path("a.gguf"), {"general.architecture": "llama"}, {"a.weight": tensor(np.ones((2, 4)))})
        self.assertNotIn("tokenizer", self.json("a.gguf"))
        self.check(["inspect", "a.gguf", "--weights", "-q"], err="")


class Weights(InspectTest):
    @classmethod
    def setUpClass(cls):
        cls.weights = random_weights(Shape(), seed=3)

    def stats(self, *args):
        return {t["name"]: t["weights"] for t in self.json(*args, "--weights")["tensors"]}

    def test_numbers(self):
        def edit(half, keys, tensors):
            if half == "vision":
                tensors["v.blk.0.ffn_up.weight"] = poison(i0=9, i5=-11, i70=40)(tensors["v.blk.0.ffn_up.weight"])
        write_pair(self.path("in"), weights=self.weights, edit=edit)
        stats = self.stats("in")
        for file in ("tiny.gguf", "mmproj-tiny.gguf"):
            for name, t in read_gguf(self.path("in", file))[1].items():
                w, found = t.array().astype(np.float64), stats[name]
                rms = np.sqrt(np.mean(w * w))
                self.assertAlmostEqual(found["min"], w.min(), 6, name)
                self.assertAlmostEqual(found["max"], w.max(), 6, name)
                self.assertAlmostEqual(found["rms"], rms, 6, name)
                self.assertEqual(found["outliers"], int(np.sum(np.abs(w) > 6 * rms)), name)
                self.assertEqual((found["nan"], found["infinite"], found["dead_rows"]), (0, 0, 0), name)
        self.assertGreater(stats["v.blk.0.ffn_up.weight"]["outliers"], 0)

    def test_same_numbers_for_any_number_of_threads(self):
        shape = Shape(hidden=512, ff=1536)  # several work items in one tensor
        write_pair(self.path("in"), shape=shape, weights=random_weights(shape))
        text = self.check(["inspect", "in", "--weights", "-q", "-t1"], err="").out
        for threads in ("2", "7"):
            self.assertEqual(self.check(["inspect", "in", "--weights", "-q", "--threads", threads]).out, text)

    def test_text(self):
        text = self.check(["inspect", "demo/model", "--only", "vision", "-w", "-q"], err="").out
        self.check_golden("inspect-weights.txt", text)

    def test_quantised(self):
        self.check(["quantize", "demo/model", "q", "q4_k", "-q"])
        self.check(["convert", "demo/model", "f", "-q"])
        a, b = self.stats("q"), self.stats("f")
        self.assertEqual(set(a), set(b))
        for name in a:
            self.assertAlmostEqual(a[name]["rms"], b[name]["rms"], delta=0.02 * b[name]["rms"], msg=name)

    def test_what_cannot_be_measured(self):
        """Integers are no weights, and a row that would cost too much memory is left out; the rest is measured."""
        long = 2**22 + 32
        tensors = {"a.bias": Tensor(I32, (4,), b"\1" * 16), "b.weight": Tensor(Q8_0, (long,), b"\0" * (long // 32 * 34)),
                   "c.weight": Tensor(Q8_0, (2**22,), b"\0" * 2**22 + b"\0" * (2**22 // 16))}
        write_gguf(self.path("a.gguf"), {"general.architecture": "llama"}, tensors)
        listed = {t["name"]: t for t in self.json("a.gguf", "--weights")["tensors"]}
        self.assertEqual([n for n, t in listed.items() if "weights" in t], ["c.weight"])
        self.assertIn("not measured", self.check(["inspect", "a.gguf", "-w", "-q"]).out)

    def test_hugging_face(self):
        write_llava(self.path("in"), weights=self.weights)
        self.check(["convert", "in", "out", "-q"])
        a, b = self.stats("in"), self.stats("out")
        self.assertEqual(set(a), set(b))
        for name in a:
            for field in ("min", "max", "outliers", "dead_rows"):
                self.assertEqual(a[name][field], b[name][field], name)


class Findings(InspectTest):
    """Each finding is made to appear alone in an otherwise sound pair."""

    def check_alone(self, finding, args, **expected):
        found = self.findings(*args)
        self.assertEqual(list(found), [finding])
        for name, value in expected.items():
            if name in ("text", "remedy"):
                self.assertIn(value, found[finding][name])
            else:
                self.assertEqual(found[finding][name], value)
        words = " ".join(self.check(["inspect", *args, "-q"]).out.split())
        self.assertTrue(words.endswith(f" What looks wrong: {finding} {found[finding]['text']} "
                                       f"what to do {found[finding]['remedy']}"), words)

    def test_none(self):
        write_pair(self.path("in"))
        for backend in ("cpu", "cuda", "metal", "vulkan"):
            self.assertTrue(self.check(["inspect", "in", "-w", "-q", "--backend", backend]).out.endswith(NOTHING))

    def test_text(self):
        write_pair(self.path("in"), shape=Shape(vision_ff=1040), edit=drop("vision", "clip.vision.feature_layer"))
        text = self.check(["inspect", "in"], err="").out
        self.check_golden("inspect-findings.txt", text[text.index("What looks wrong"):])

    def test_feature_layer(self):
        write_pair(self.path("in"), edit=drop("vision", "clip.vision.feature_layer"))
        self.check_alone("feature-layer-missing", ["in"], half="vision", text="runs 1 of its 2 blocks",
                         remedy="llava-quantize convert --fix-feature-layer MMPROJ OUT")

    def test_no_feature_layer_wanted_without_class_embedding(self):
        def edit(half, keys, tensors):
            if half == "vision":
                del keys["clip.vision.feature_layer"], tensors["v.class_embd"]
        write_pair(self.path("in"), edit=edit)
        self.assertEqual(self.findings("in"), {})

    def test_widths(self):
        write_pair(self.path("in"), edit=change("language", llama__embedding_length=96))
        self.check_alone("widths-differ", ["in"], half="pair", text="width 64, but the language model takes 96")

    def test_pair_ids(self):
        def edit(half, keys, tensors):
            keys["llava_quantize.pair_id"] = ("a" if half == "vision" else "b") * 32
        write_pair(self.path("in"), edit=edit)
        self.check_alone("pair-ids-differ", ["in"], half="pair")
        self.check(["quantize", "in", "out", "-q"], code=2, out="")

    def test_backends(self):
        name = "v.blk.1.attn_q.weight"
        cases = (("cuda", TQ1_0, 256, 54), ("cuda", TQ2_0, 256, 66), ("metal", TQ1_0, 256, 54),
                 ("metal", NVFP4, 64, 36), ("metal", BF16, 1, 2), ("vulkan", BF16, 1, 2))
        shape = Shape(vision_hidden=256, vision_heads=4)
        for backend, kind, block, size in cases:
            with self.subTest(backend=backend, type=kind):
                write_pair(self.path("in"), shape=shape, edit=swap("vision", name, zeros(kind, block, size)))
                self.assertEqual(self.findings("in", "--backend", "cpu"), {})
                self.check_alone("backend-type", ["in", "--backend", backend], half="vision", tensor=name, tensors=1,
                                 remedy="llama.cpp 0.5.0, ggml-")

    def test_padding(self):
        write_pair(self.path("in"), shape=Shape(vision_ff=1040))
        before, after = 2 * 1040 * 64 * 2, 2 * 64 * 1056 // 32 * 34
        self.check_alone("padding-possible", ["in"], half="vision", tensor="v.blk.0.ffn_down.weight", tensors=2,
                         text=f"rows of 1040 weights divide into no blocks of 32, so the type stays f16 "
                              f"({before / 2**20:.1f} MiB)",
                         remedy=f"from 1040 to 1056 with zeros, which changes no result, as the activation of 0 is 0: "
                                f"at q8_0 they take {(before - after) / 2**20:.1f} MiB less then")

    def test_quantised_vectors(self):
        name = "v.blk.0.ln1.weight"
        write_pair(self.path("in"), edit=swap("vision", name, zeros(Q8_0, 32, 34)))
        self.check_alone("vector-type", ["in"], half="vision", tensor=name, tensors=1, text="(q8_0)")

    def test_vectors_in_f16(self):
        def edit(half, keys, tensors):
            if half == "language":
                for name in ("blk.0.attn_norm.weight", "output_norm.weight"):
                    tensors[name] = tensor(tensors[name].array(), "f16")
        write_pair(self.path("in"), edit=edit)
        self.check_alone("vector-type", ["in"], half="language", tensors=2)

    def test_quantised_tables(self):
        write_pair(self.path("in"), edit=swap("vision", "v.position_embd.weight", zeros(Q4_0, 32, 18)))
        self.check_alone("table-quantised", ["in"], tensor="v.position_embd.weight", tensors=1)

    def test_not_finite(self):
        name = "blk.1.ffn_down.weight"
        write_pair(self.path("in"), edit=swap("language", name, poison(i3=np.nan, i9=np.inf, i300=-np.inf)))
        self.assertEqual(self.findings("in"), {})
        self.check_alone("not-finite", ["in", "--weights"], half="language", tensor=name, tensors=1,
                         text=f"NaN weights: 1, infinite ones: 2, in 1 tensor, such as '{name}'")
        stats = {t["name"]: t for t in self.json("in", "-w")["tensors"]}[name]["weights"]
        self.assertEqual((stats["nan"], stats["infinite"]), (1, 2))

    def test_dead_rows(self):
        def dead(t):
            array = t.array().copy()
            array[[0, 5]] = 0
            return tensor(array, "f16")
        write_pair(self.path("in"), edit=swap("language", "blk.0.ffn_gate.weight", dead))
        self.assertEqual(self.findings("in"), {})
        self.check_alone("dead-rows", ["in", "-w"], half="language", tensor="blk.0.ffn_gate.weight",
                         text="language.ffn.gate: 2 rows of zeros in 1 tensor, ")

    def test_a_bias_of_zeros_is_nothing_odd(self):
        write_pair(self.path("in"), edit=swap("vision", "v.blk.0.ffn_up.bias", zeros(0, 1, 4)))
        self.assertEqual(self.findings("in", "-w"), {})


class BadInput(InspectTest):
    def test_hostile_files(self):
        for name, data in GGUF.items():
            with self.subTest(name):
                with open(self.path("a.gguf"), "wb") as f:
                    f.write(data)
                for args in ([], ["--all", "--weights"], ["--json"]):
                    result = self.check(["inspect", "a.gguf", *args], code=1, out="")
                    self.assertRegex(result.err, r"\Allava-quantize: a\.gguf: [^\n]*\n\Z")

    def test_a_file_that_ends_early(self):
        write_pair(self.path("in"))
        with open(self.path("in/tiny.gguf"), "r+b") as f:
            f.truncate(os.path.getsize(self.path("in/tiny.gguf")) - 40)
        self.check(["inspect", "in"], code=1, out="")

    def test_missing(self):
        self.check_refused(["inspect", "nowhere"], "nowhere: cannot open: No such file or directory")
        os.mkdir(self.path("empty"))
        self.check(["inspect", "empty"], code=1, out="")

    def test_wrong_use(self):
        see = "; see 'llava-quantize inspect --help'"
        self.check_refused(["inspect"], "FILE|FOLDER is missing" + see, code=2)
        self.check_refused(["inspect", "a", "--backend", "tpu"],
                           "--backend: 'tpu' is not cpu|cuda|metal|vulkan" + see, code=2)

    def test_interrupted_output(self):
        with open("/dev/full", "w") as full:
            self.check(["inspect", "demo/model"], code=1, stdout=full,
                       err="llava-quantize: standard output: No space left on device\n")


class Bounds(InspectTest):
    def write_large(self, path, n_tensors, n_tokens):
        """A sparse GGUF of 100 GB: headers, and a hole for the data."""
        words = [f"token{i:07d}" for i in range(n_tokens)]
        keys = {"general.architecture": "llama", "llama.embedding_length": 8192, "tokenizer.ggml.model": "gpt2",
                "tokenizer.ggml.tokens": words, "tokenizer.ggml.scores": [0.0] * n_tokens,
                "tokenizer.ggml.token_type": [1] * n_tokens, "tokenizer.ggml.merges": words}
        head = struct.pack("<4sIQQ", b"GGUF", 3, n_tensors, len(keys))
        head += b"".join(gguf_string(k) + gguf_value(v) for k, v in keys.items())
        ne = (8192, 100 * 10**9 // n_tensors // 8192 // 2)
        size = ne[0] * ne[1] * 2
        for i in range(n_tensors):
            head += gguf_string(f"blk.{i}.ffn_up.weight") + struct.pack("<IQQIQ", 2, *ne, 1, i * size)
        head += b"\0" * (-len(head) % 32)
        with open(path, "wb") as f:
            f.write(head)
            f.truncate(len(head) + n_tensors * size)
        return n_tensors * size

    def peak(self, *args):
        """Peak resident bytes of `inspect ARGS`, which must succeed; prints them with the time."""
        command = [sys.executable, "-S", "-c", MEASURE, BIN, "inspect", *args]
        before = time.monotonic()
        done = subprocess.run(command, cwd=self.dir, stdout=subprocess.PIPE, text=True, check=True)
        seconds = time.monotonic() - before
        code, peak = map(int, done.stdout.split())
        print(f"inspect {' '.join(args)}: {peak / 1024:.1f} MiB, {seconds * 1e3:.0f} ms with the measuring process")
        self.assertEqual(code, 0)
        return peak * 1024

    @unittest.skipIf(SANITIZE, "sanitizers take memory of their own")
    def test_headers_alone_are_read(self):
        data = self.write_large(self.path("large.gguf"), 1000, 150_000)
        self.assertEqual(self.json("large.gguf")["halves"]["language"]["bytes"], data)
        for args in ([], ["--all"], ["--json"], ["--all", "--json"]):
            self.assertLess(self.peak("large.gguf", *args), 32 * 10**6)

    @unittest.skipIf(SANITIZE, "sanitizers take memory of their own")
    def test_weights_are_read_in_pieces(self):
        tensors = {"a.weight": Tensor(Q8_0, (8192, 0), b"")}
        write_gguf(self.path("a.gguf"), {"general.architecture": "llama"}, tensors)
        with open(self.path("a.gguf"), "r+b") as f:  # one tensor of 32768 rows, 285 MB, that is a hole in the file
            head = f.read()
            place = head.index(b"a.weight") + len("a.weight") + 4 + 8
            f.seek(place)
            f.write(struct.pack("<Q", 32768))
            f.truncate(len(head) + 32768 * 8192 // 32 * 34)
        self.assertLess(self.peak("a.gguf", "--weights", "-q", "--threads", "2"), 32 * 10**6)


class FixFeatureLayer(InspectTest):
    def setUp(self):
        super().setUp()
        self.check(["convert", "demo/model", "new", "-q"])
        self.strip("new/mmproj-model-F16.gguf", "old.gguf")

    def strip(self, source, target):
        keys, tensors = read_gguf(self.path(source))
        del keys["clip.vision.feature_layer"]
        write_gguf(self.path(target), keys, tensors)

    def check_fixed(self, path):
        keys, tensors = read_gguf(self.path(path))
        expected, same = read_gguf(self.path("new/mmproj-model-F16.gguf"))
        self.assertEqual(keys, expected)
        self.assertEqual(list(tensors), list(same))
        self.assertTrue(all(tensors[n] == same[n] for n in same))

    def test_text_and_result(self):
        result = self.check(["convert", "--fix-feature-layer", "old.gguf", "fixed.gguf"])
        self.check_golden("fix-feature-layer.txt", result.out)
        self.check_fixed("fixed.gguf")
        self.assertEqual(list(self.findings("old.gguf")), ["feature-layer-missing"])
        self.assertEqual(self.findings("fixed.gguf"), {})

    def test_still_pairs_with_its_language_half(self):
        """The pair id is a hash of tensors, so the key does not change it; another command opens both together."""
        os.remove(self.path("new/mmproj-model-F16.gguf"))
        self.check(["convert", "--fix-feature-layer", "old.gguf", "new/mmproj-model-F16.gguf", "-q"], out="")
        self.assertEqual(self.findings("new"), {})
        self.check(["quantize", "new", "q8", "q8_0", "-q"])

    def test_a_pair_gives_its_vision_half(self):
        os.rename(self.path("old.gguf"), self.path("new/mmproj-model-F16.gguf"))
        self.check(["convert", "--fix-feature-layer", "new", "out", "-q"], out="", err="")
        self.assertEqual(os.listdir(self.path("out")), ["mmproj-model-F16.gguf"])

    def test_json_and_dry_run(self):
        before = snapshot(self.dir)
        report = json.loads(self.check(["convert", "--fix-feature-layer", "old.gguf", "a.gguf", "-n", "--json"]).out)
        self.assertEqual(snapshot(self.dir), before)
        self.assertEqual({k: report[k] for k in ("path", "key", "value", "blocks", "runs_before", "runs_after",
                                                 "written")},
                         {"path": "a.gguf", "key": "clip.vision.feature_layer", "value": [4], "blocks": 4,
                          "runs_before": 3, "runs_after": 4, "written": False})

    def test_quantised_towers_are_copied_too(self):
        self.check(["quantize", "demo/model", "q", "q4_0", "-q"])
        self.strip("q/mmproj-model-Q4_0.gguf", "q4.gguf")
        self.check(["convert", "--fix-feature-layer", "q4.gguf", "fixed.gguf", "-q"])
        self.assertEqual(read_gguf(self.path("fixed.gguf"))[1], read_gguf(self.path("q4.gguf"))[1])

    def test_refusals(self):
        fix = ["convert", "-q", "--fix-feature-layer"]
        self.check_refused([*fix, "new/mmproj-model-F16.gguf", "x.gguf"],
                           "new/mmproj-model-F16.gguf: has the key clip.vision.feature_layer already", code=2)
        self.check_refused([*fix, "old.gguf", "old.gguf"], "old.gguf: is also the input; choose another output", code=2)
        os.symlink("old.gguf", self.path("link.gguf"))
        self.check_refused([*fix, "old.gguf", "link.gguf", "--force"],
                           "link.gguf: is also the input; choose another output", code=2)
        self.check([*fix, "old.gguf", "new/model-F16.gguf"], code=2, out="")
        self.check_refused([*fix, "demo/model", "x.gguf"],
                           "demo/model: is a Hugging Face folder; converting it writes clip.vision.feature_layer",
                           code=2)
        self.check_refused([*fix, "old.gguf", "x.gguf", "f16"],
                           "--fix-feature-layer changes no type and writes the vision half alone; "
                           "see 'llava-quantize convert --help'", code=2)

    def test_other_towers_are_refused(self):
        keys, tensors = read_gguf(self.path("old.gguf"))
        tower = {n: t for n, t in tensors.items() if n != "v.class_embd"}
        no_llava = "is no LLaVA tower: expected a CLIP with a class embedding and projector type 'mlp'"
        whole = ("holds all 24 blocks of CLIP ViT-L; llama.cpp runs all but the last, as LLaVA is trained, so there is "
                 "nothing to fix")
        cases = {"another projector": ({**keys, "clip.projector_type": "ldp"}, tensors, no_llava),
                 "no class embedding": (keys, tower, no_llava),
                 "a whole tower": ({**keys, "clip.vision.block_count": 24, "clip.vision.embedding_length": 1024},
                                   tensors, whole),
                 "no blocks": ({**keys, "clip.vision.block_count": 0}, tensors,
                               "key 'clip.vision.block_count' is missing or makes no sense")}
        for name, (k, t, message) in cases.items():
            with self.subTest(name):
                write_gguf(self.path("a.gguf"), k, t)
                self.check_refused(["convert", "--fix-feature-layer", "a.gguf", "x.gguf", "-q"], f"a.gguf: {message}",
                                   code=2)
                self.assertNotIn("feature-layer-missing", self.findings("a.gguf"))


if __name__ == "__main__":
    unittest.main()
