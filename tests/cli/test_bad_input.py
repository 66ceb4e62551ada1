"""Bad input, through the program: each case exits 1 or 2 with exactly one message, and changes nothing on disk.

The messages stand in golden/bad-*.txt, one line per case, so that a change of wording is a reviewable diff.
"""
import json
import os
import re
import unittest

import numpy as np

from bad_files import GGUF, SAFETENSORS
from harness import CliTest, snapshot
from models import (F16, Shape, Tensor, field, hf_name, random_weights, read_gguf, tokenizer, write_gguf, write_llava,
                    write_pair)

LAYER = "language_model.model.layers.0."
TOWER = "vision_tower.vision_model.encoder.layers.0."


def delete(*path):
    """An edit that deletes one member of nested dictionaries."""
    def edit(d):
        for name in path[:-1]:
            d = d[name]
        del d[path[-1]]
    return edit


def put(*path):
    """An edit that sets a member: put("text_config", "hidden_size", 96)."""
    def edit(d):
        for name in path[:-2]:
            d = d[name]
        d[path[-2]] = path[-1]
    return edit


def poison(name, index, value):
    """An edit that replaces one weight by NaN or infinity."""
    def edit(tensors):
        array = tensors[name].copy()
        array.flat[index] = value
        tensors[name] = array
    return edit


def reshape(name, *shape):
    return lambda tensors: tensors.update({name: np.zeros(shape, np.float32)})


CONFIGS = {
    "no model type": delete("model_type"),
    "another model": put("model_type", "qwen2_vl"),
    "no text_config": delete("text_config"),
    "no vision_config": delete("vision_config"),
    "another decoder": put("text_config", "model_type", "mistral3"),
    "another tower": put("vision_config", "model_type", "siglip_vision_model"),
    "unknown rope scaling": put("text_config", "rope_parameters", {"rope_theta": 1e4, "rope_type": "yarn"}),
    "another width": put("text_config", "hidden_size", 96),
    "more blocks than there are": put("text_config", "num_hidden_layers", 3),
    "fewer blocks than there are": put("text_config", "num_hidden_layers", 1),
    "another feed-forward": put("text_config", "intermediate_size", 96),
    "heads that do not divide": put("text_config", "num_attention_heads", 5),
    "no heads": put("text_config", "num_attention_heads", 0),
    "a vocabulary beyond reason": put("text_config", "vocab_size", 2**62),
    "a smaller vocabulary than the tokenizer's": put("text_config", "vocab_size", 100),
    "text for a number": put("text_config", "hidden_size", "wide"),
    "negative number": put("vision_config", "num_hidden_layers", -3),
    "another picture size": put("vision_config", "image_size", 64),
    "patches that do not divide": put("vision_config", "patch_size", 7),
    "another tower width": put("vision_config", "hidden_size", 96),
    "a feature layer outside": put("vision_feature_layer", -9),
    "the class token's features": put("vision_feature_select_strategy", "full"),
    "an unknown activation": put("vision_config", "hidden_act", "relu"),
}

TENSORS = {
    "no query": delete(LAYER + "self_attn.q_proj.weight"),
    "no norm": delete("language_model.model.norm.weight"),
    "no projector": delete("multi_modal_projector.linear_2.weight"),
    "no tower bias": delete(TOWER + "mlp.fc1.bias"),
    "another shape": reshape(LAYER + "mlp.up_proj.weight", 96, 64),
    "transposed": reshape(LAYER + "mlp.down_proj.weight", 128, 64),
    "one dimension too many": reshape(LAYER + "self_attn.q_proj.weight", 64, 64, 1),
    "NaN in a matrix": poison(LAYER + "mlp.up_proj.weight", 64 * 3 + 5, np.nan),
    "infinity in a matrix": poison(TOWER + "self_attn.q_proj.weight", 0, np.inf),
    "NaN in a norm": poison("language_model.model.norm.weight", 2, np.nan),
    "infinity in a bias": poison("multi_modal_projector.linear_1.bias", 63, -np.inf),
}


class Cases(CliTest):
    """Collects "case: message" lines of refused runs."""

    def setUp(self):
        super().setUp()
        self.lines = []

    def refuse(self, case, args):
        before = snapshot(self.dir)
        result = self.run_cli(args)
        self.assertIn(result.code, (1, 2), f"{case}: {result}")
        self.assertEqual(result.out, "", case)
        result.err = re.sub(r"(?m)^ *\d+ %.*\n", "", result.err)  # progress, which slow runs print
        self.assertRegex(result.err, r"\Allava-quantize: [^\n]+\n\Z", case)
        self.assertNotIn("Sanitizer", result.err, case)
        self.assertEqual(snapshot(self.dir), before, f"{case}: the folder changed")
        self.lines.append(f"{case} ({result.code})\n    {result.err.removeprefix('llava-quantize: ')}")

    def compare(self, name):
        self.check_golden(name, "".join(self.lines))


class Gguf(Cases):
    def test_lies(self):
        for case, data in GGUF.items():
            with open(self.path("bad.gguf"), "wb") as f:
                f.write(data)
            self.refuse(case, ["bad.gguf", "out.gguf", "q8_0"])
        self.compare("bad-gguf.txt")

    def test_cut_anywhere(self):
        """A file cut at any point is refused, whichever half it is."""
        for path in write_pair(self.path("in")):
            size = os.path.getsize(path)
            with open(path, "rb") as f:
                whole = f.read()
            for cut in [*range(0, 64, 5), *range(64, size, size // 40), size - 1]:
                with open(path, "wb") as f:
                    f.write(whole[:cut])
                self.refuse(f"cut at {cut}", ["in", "out", "q8_0"])
            with open(path, "wb") as f:
                f.write(whole)
        self.check(["in", "out", "q8_0", "-q"])

    def test_halves(self):
        def edit(half, change):
            return lambda h, keys, tensors: change(keys, tensors) if h == half else None

        wide = Shape(hidden=128, heads=4)
        write_pair(self.path("narrow"))
        write_pair(self.path("wide"), shape=wide)
        self.refuse("widths", ["wide/tiny.gguf", "out", "--mmproj", "narrow/mmproj-tiny.gguf"])
        self.refuse("language as mmproj", ["wide/tiny.gguf", "out", "--mmproj", "narrow/tiny.gguf"])
        self.refuse("mmproj as language", ["wide/mmproj-tiny.gguf", "out", "--mmproj", "narrow/mmproj-tiny.gguf"])
        self.refuse("no such mmproj", ["wide/tiny.gguf", "out", "--mmproj", "gone.gguf"])
        for other in ("mmproj-tiny-f16.gguf", "mmproj-other.gguf"):
            os.link(self.path("narrow/mmproj-tiny.gguf"), self.path("narrow", other))
        os.rename(self.path("narrow/mmproj-tiny.gguf"), self.path("narrow/mmproj-third.gguf"))
        self.refuse("several mmproj", ["narrow/tiny.gguf", "out"])
        write_pair(self.path("no-architecture"), edit=edit("language", lambda k, t: k.pop("general.architecture")))
        self.refuse("no architecture", ["no-architecture/tiny.gguf", "out", "--only", "language"])
        write_pair(self.path("nan"), dtype="f32", edit=edit("language", lambda k, t: setattr(
            t["blk.1.ffn_up.weight"], "data", b"\x00\x00\xc0\x7f" + t["blk.1.ffn_up.weight"].data[4:])))
        self.refuse("NaN", ["nan", "out", "q8_0"])
        self.refuse("NaN in a copied tensor", ["nan", "out", "f32"])
        write_pair(self.path("long"), edit=edit("language", lambda k, t: t.update(
            long=Tensor(F16, ((1 << 22) + 1,), bytes(2 * ((1 << 22) + 1))))))
        self.refuse("a row that would take all memory", ["long", "out", "q8_0"])
        write_pair(self.path("two"))
        write_pair(self.path("two"), name="another")
        self.refuse("several pairs in a folder", ["two", "out"])
        self.refuse("no such half", ["two/mmproj-tiny.gguf", "out", "--only", "language"])
        self.compare("bad-halves.txt")

    def test_quantised_already(self):
        write_pair(self.path("in"))
        self.check(["in", "small", "q8_0", "-q"])
        self.refuse("quantised already", ["small", "out", "q4_0"])
        self.compare("bad-quantised.txt")
        self.check(["small", "out", "q4_0", "--allow-requantize", "-q"])


class HuggingFace(Cases):
    def folder(self, **edits):
        return write_llava(self.path("in"), **edits)

    def test_safetensors(self):
        self.folder()
        for case, data in SAFETENSORS.items():
            with open(self.path("in/model.safetensors"), "wb") as f:
                f.write(data)
            self.refuse(case, ["in", "out"])
        self.compare("bad-safetensors.txt")

    def test_config(self):
        for case, edit in CONFIGS.items():
            self.folder(edit_config=edit)
            self.refuse(case, ["in", "out"])
        for case, text in (("empty", ""), ("bad JSON", "{"), ("no object", "[]"), ("deeply nested", "[" * 100000)):
            with open(self.path("in/config.json"), "w") as f:
                f.write(text)
            self.refuse(case, ["in", "out"])
        self.compare("bad-config.txt")

    def test_tensors(self):
        weights = random_weights(Shape())
        for case, edit in TENSORS.items():
            self.folder(weights=weights, dtype="f32", edit_tensors=edit)
            self.refuse(case, ["in", "out", "q8_0"])
        self.compare("bad-tensors.txt")

    def test_missing_files(self):
        for gone in ("config.json", "tokenizer.model", "model.safetensors"):
            self.folder()
            os.remove(self.path("in", gone))
            self.refuse(f"no {gone}", ["in", "out"])
        os.remove(self.path("in/config.json"))
        os.remove(self.path("in/tokenizer.model"))
        self.refuse("an empty folder", ["in", "out"])
        self.refuse("nothing at all", ["nowhere", "out"])
        self.compare("bad-folders.txt")

    def test_shards(self):
        self.folder(shards=3)
        index = self.path("in/model.safetensors.index.json")
        with open(index) as f:
            good = json.load(f)
        os.rename(self.path("in/model-00002-of-00003.safetensors"), self.path("aside"))
        self.refuse("missing shard", ["in", "out"])
        os.rename(self.path("aside"), self.path("in/model-00002-of-00003.safetensors"))
        name = hf_name("text.norm.weight")
        for case, value in (("shard outside the folder", "../model-00001-of-00003.safetensors"),
                            ("shard by absolute path", "/etc/passwd"), ("number for a shard", 3)):
            with open(index, "w") as f:
                json.dump({"weight_map": {**good["weight_map"], name: value}}, f)
            self.refuse(case, ["in", "out"])
        for case, text in (("empty index", ""), ("index without a map", "{}")):
            with open(index, "w") as f:
                f.write(text)
            self.refuse(case, ["in", "out"])
        self.compare("bad-shards.txt")

    def test_tokenizer(self):
        whole = tokenizer()
        for case, data in (("empty", b""), ("text", b"not a model"), ("cut short", whole[:-20]),
                           ("a length beyond the file", b"\x0a\xff\xff\xff\xff\x7f"),
                           ("an endless number", b"\xff" * 30),
                           ("an unknown kind of model", tokenizer(model_type=4)),
                           ("no pieces", field(2, field(3, 2)))):
            self.folder(tokenizer_bytes=data)
            self.refuse(case, ["in", "out"])
        self.compare("bad-tokenizer.txt")


class Requests(Cases):
    """Types, recipes, patterns, plans, importance files."""

    def setUp(self):
        super().setUp()
        write_pair(self.path("in"))

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)

    def test_names(self):
        for case, args in {
            "recipe": ["in", "out", "tiny"], "bits": ["in", "out", "7"], "no bits": ["in", "out", "0"],
            "many bits": ["in", "out", "99999999999999999999"], "vision": ["in", "out", "--vision", "q4_z"],
            "language": ["in", "out", "--language", "9"], "type of a rule": ["in", "out", "--type", "blk=q9_0"],
            "internal type": ["in", "out", "--type", "blk=q8_k"], "bad pattern": ["in", "out", "--type", "blk.(=q8_0"],
            "pattern that matches nothing": ["in", "out", "--type", "vison.ffn=q8_0"],
            "type that needs importance": ["demo/model", "out", "iq2_xxs"],
            "fixed tensor": ["in", "out", "--type", "norm=q8_0"],
        }.items():
            self.refuse(case, args)
        self.compare("bad-names.txt")

    def test_plan_files(self):
        self.check(["in", "out", "q8_0", "-n", "-q", "--save-plan", "good.json"])
        with open(self.path("good.json")) as f:
            good = json.load(f)

        def changed(**members):
            return json.dumps({**good, **members})

        first, *rest = good["tensors"]

        def retyped(old, new):
            """The plan with another type for the first tensor that has the type `old`."""
            i = next(i for i, t in enumerate(good["tensors"]) if t["type"] == old)
            return changed(tensors=[{**t, "type": new} if i == j else t for j, t in enumerate(good["tensors"])])

        cases = {
            "empty": "", "text": "layered", "cut short": json.dumps(good)[:-5], "no object": "[]", "no tensors": "{}",
            "later version": changed(version=99),
            "unknown tensor": changed(tensors=[*good["tensors"], {**first, "name": "x"}]),
            "tensor left out": changed(tensors=rest), "tensor twice": changed(tensors=[*good["tensors"], first]),
            "unknown type": retyped("q8_0", "q9"), "type that does not fit": retyped("q8_0", "q4_k"),
            "number for a type": changed(tensors=[{**first, "type": 3}, *rest]),
            "no name": changed(tensors=[{"type": "f32"}, *rest]),
            "quantised norm": changed(tensors=[{**t, "type": "q8_0"} if t["name"] == "output_norm.weight" else t
                                               for t in good["tensors"]]),
            "deeply nested": "[" * 100000,
        }
        for case, text in cases.items():
            self.write("plan.json", text)
            self.refuse(case, ["in", "out", "--plan", "plan.json"])
        self.refuse("no such file", ["in", "out", "--plan", "gone.json"])
        self.refuse("a folder", ["in", "out", "--plan", "in"])
        self.compare("bad-plans.txt")

    def test_imatrix(self):
        self.write("text", "not an imatrix")
        self.write("empty", "")
        for name in ("gone", "in", "text", "empty", "in/tiny.gguf"):
            self.refuse(name, ["in", "out", "q4_0", "--imatrix", name])
        self.compare("bad-imatrix.txt")

    def test_statistics(self):
        """Of the pair in hand, but for one thing."""
        def numbers(array, kind="<f4"):
            array = np.asarray(array, kind)
            return Tensor(0 if kind == "<f4" else 28, (len(array), 1), array.tobytes())

        name, other = "blk.0.attn_q.weight", "blk.0.attn_k.weight"
        own = "llava_quantize.statistics."
        keys = {"general.type": "imatrix", own + "version": 1, own + "pair": "",
                own + "members": [other], own + "firsts": [name]}
        good = {name + ".in_sum2": numbers(np.ones(64)), name + ".counts": numbers([100]),
                other + ".in_sum2": numbers(np.ones(64)), other + ".counts": numbers([100]),
                name + ".hessian": numbers(np.ones(64 * 65 // 2)), name + ".weighted": numbers(np.ones(65), "<f8"),
                name + ".spread": numbers([1, 1], "<f8")}
        odd = np.ones(64 * 65 // 2)
        odd[70] = np.nan
        cases = {
            "not a number": ({}, {name + ".in_sum2": numbers([*np.ones(63), np.nan])}),
            "negative": ({}, {name + ".counts": numbers([-5])}),
            "another model's": ({}, {other + ".in_sum2": numbers(np.ones(96)), name + ".in_sum2": numbers(np.ones(96)),
                                     name + ".hessian": numbers(np.ones(96 * 97 // 2)),
                                     name + ".weighted": numbers(np.ones(97), "<f8")}),
            "no tensor of the model": ({own + "members": ["blk.77.attn_k.weight"], own + "firsts": ["blk.77.attn_q.weight"]},
                                       {n.replace("blk.0", "blk.77"): t for n, t in good.items()}),
            "another pair's": ({own + "pair": "another"}, {}),
            "later version": ({own + "version": 2}, {}),
            "unknown member": ({own + "members": ["blk.9.attn_k.weight"]}, {}),
            "second moments too short": ({}, {name + ".hessian": numbers(np.ones(64))}),
            "second moments not finite": ({}, {name + ".hessian": numbers(odd)}),
            "no spread": ({}, {name + ".spread": None}),
        }
        pair = read_gguf(self.path("in/tiny.gguf"))
        write_gguf(self.path("in/tiny.gguf"), {**pair[0], "llava_quantize.pair_id": "0123abcd"}, pair[1])
        for case, (more, parts) in cases.items():
            tensors = {**({} if case.startswith("no tensor") else good), **parts}
            write_gguf(self.path("stats"), {**keys, **more}, {n: t for n, t in tensors.items() if t is not None})
            self.refuse(case, ["in", "out", "q4_0", "--stats", "stats"])
        self.compare("bad-statistics.txt")


class Ask(Cases):
    def test_pictures_and_pairs(self):
        write_pair(self.path("in"))
        write_llava(self.path("hf"))
        with open(self.path("text.png"), "w") as f:
            f.write("not a picture")
        with open(self.path("empty.png"), "w"):
            pass
        with open(self.path("demo/exam/00000.png"), "rb") as f:
            data = f.read()
        with open(self.path("cut.png"), "wb") as f:
            f.write(data[:len(data) // 2])
        for image in ("gone.png", "text.png", "empty.png", "cut.png", "in"):
            self.refuse(image, ["ask", "in", image, "What is this?"])
        good = "demo/exam/00000.png"
        self.refuse("Hugging Face folder", ["ask", "hf", good, "What?"])
        self.refuse("no pair", ["ask", "gone", good, "What?"])
        self.refuse("vision half alone", ["ask", "in/mmproj-tiny.gguf", good, "What?"])
        os.mkdir(self.path("alone"))
        os.link(self.path("in/tiny.gguf"), self.path("alone/tiny.gguf"))
        self.refuse("language half alone", ["ask", "alone", good, "What?"])
        self.refuse("other pair", ["ask", "in", good, "What?", "--compare", "gone"])
        self.compare("bad-questions.txt")


if __name__ == "__main__":
    unittest.main()
