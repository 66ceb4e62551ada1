"""Hugging Face folders in every form against the conversion in numpy (models.py): same names, shapes, keys and bytes."""
import json
import os
import unittest

from harness import CliTest
from models import (TYPE_IDS, Shape, decode, encode, gguf_tensors, hf_name, language_keys, random_weights, read_gguf,
                    vision_keys, write_llava, write_pair)

# What convert adds or decides itself.
OWN_KEYS = ("general.file_type", "general.quantization_version", "general.quantized_by", "general.name")


def rounded(weights, dtype):
    """The weights as a folder of that type holds them."""
    return {n: decode(encode(w, dtype), TYPE_IDS[dtype]).reshape(w.shape) for n, w in weights.items()}


class Import(CliTest):
    def check_import(self, shape, dtype="f16", stored=None, **form):
        """`stored`: the type in the folder; the pair is written in `dtype`."""
        weights = rounded(random_weights(shape, seed=3), stored or dtype)
        write_llava(self.path("in"), shape, weights, dtype=stored or dtype, **form)
        self.check(["convert", "in", "out.gguf", dtype, "-q", "--force"], out="", err="")
        keys = language_keys(shape), vision_keys(shape)
        files = "out.gguf", "mmproj-out.gguf"
        for tensors, expected_keys, file in zip(gguf_tensors(shape, weights, dtype), keys, files):
            found_keys, found = read_gguf(self.path(file))
            self.assertEqual(set(found), set(tensors))
            for name, tensor in tensors.items():
                self.assertEqual((found[name].type, found[name].ne), (tensor.type, tensor.ne), name)
                self.assertEqual(found[name].data, tensor.data, name)
            self.check_keys(found_keys, expected_keys)

    def check_keys(self, found, expected):
        own = {k for k in found if k in OWN_KEYS or k.startswith("llava_quantize.")}
        self.assertEqual(set(found) - own, set(expected) - set(OWN_KEYS))
        for key in set(expected) - set(OWN_KEYS):
            values = (v if isinstance(v, list) else [v] for v in (found[key], expected[key]))
            for a, b in zip(*values, strict=True):
                if isinstance(b, float):
                    self.assertAlmostEqual(a, b, delta=1e-6 * abs(b), msg=key)
                else:
                    self.assertEqual(a, b, key)

    def test_layouts_and_ages(self):
        for layout in ("hub", "5.x", "4.52"):
            for age in ("4.x", "5.x"):
                with self.subTest(layout=layout, age=age):
                    self.check_import(Shape(), layout=layout, age=age)

    def test_types(self):
        for dtype in ("f16", "bf16", "f32"):
            with self.subTest(dtype=dtype):
                self.check_import(Shape(), dtype, stored="f32")

    def test_shapes(self):
        variants = {"grouped queries": {"kv_heads": 2}, "one key head": {"kv_heads": 1}, "tied": {"tied": True},
                    "long heads": {"head_dim": 32}, "attention biases": {"attention_bias": True, "kv_heads": 2},
                    "mlp biases": {"mlp_bias": True}, "gelu": {"act": "gelu"}, "last layer": {"feature_layer": -1},
                    "early layer": {"feature_layer": 1},
                    "not square": {"hidden": 96, "heads": 6, "kv_heads": 3, "ff": 160},
                    "other tower": {"vision_hidden": 32, "vision_ff": 96, "vision_heads": 2, "image": 48, "patch": 12}}
        for name, changes in variants.items():
            with self.subTest(name):
                self.check_import(Shape(**changes), "f32")

    def test_shards(self):
        for index in (True, False):
            with self.subTest(index=index):
                self.dir_of("in", empty=True)
                self.check_import(Shape(), shards=3, index=index)

    def dir_of(self, name, empty=False):
        path = self.path(name)
        os.makedirs(path, exist_ok=True)
        for file in os.listdir(path) if empty else ():
            os.remove(os.path.join(path, file))
        return path

    def test_tables_that_older_releases_stored(self):
        def add(named):
            named["vision_tower.vision_model.embeddings.position_ids"] = ("I64", [1, 17], bytes(17 * 8))
            named["language_model.model.layers.0.self_attn.rotary_emb.inv_freq"] = ("F32", [8], bytes(32))

        weights = random_weights(Shape())
        write_llava(self.path("a"), Shape(), weights)
        write_llava(self.path("b"), Shape(), weights, edit_tensors=add)
        self.check(["convert", "a", "a.gguf", "-q"])
        self.check(["convert", "b", "b.gguf", "-q"])
        self.assertEqual(read_gguf(self.path("a.gguf"))[1], read_gguf(self.path("b.gguf"))[1])

    def test_tensors_without_a_place(self):
        for name in ("image_newline", "base_model.model.q_proj.lora_A.weight",
                     hf_name("text.layers.0.mlp.extra.weight")):
            with self.subTest(name):
                def add(named, name=name):
                    named[name] = ("F16", [4], bytes(8))

                write_llava(self.path("in"), edit_tensors=add)
                self.check_refused(["convert", "in", "out"],
                                   f"in/model.safetensors: tensor '{name}' has no place in a LLaVA-1.5 model of this "
                                   "config.json; converting would lose it", code=1)

    def test_straight_through_and_by_way_of_f32(self):
        write_llava(self.path("in"), Shape(kv_heads=2), dtype="bf16")
        self.check(["in", "a.gguf", "q8_0", "-q"])
        self.check(["convert", "in", "in-F32.gguf", "f32", "-q"])
        self.check(["in-F32.gguf", "b.gguf", "q8_0", "-q"])
        for a, b in (("a.gguf", "b.gguf"), ("mmproj-a.gguf", "mmproj-b.gguf")):
            self.check_same_files(self.path(a), self.path(b))

    def test_chat_template(self):
        write_llava(self.path("in"))
        with open(self.path("in/chat_template.json"), "w", encoding="utf-8") as f:
            json.dump({"chat_template": "{{ messages }}"}, f)
        self.check(["convert", "in", "out.gguf", "-q"])
        self.assertEqual(read_gguf(self.path("out.gguf"))[0]["tokenizer.chat_template"], "{{ messages }}")

    def test_pair_of_our_own_is_read_again(self):
        """The numpy pair goes through unchanged: copying tensors and keys loses nothing."""
        write_pair(self.path("in"), "tiny", dtype="f16")
        self.check(["in", "out.gguf", "f16", "-q"])
        for half in ("", "mmproj-"):
            before, after = read_gguf(self.path(f"in/{half}tiny.gguf")), read_gguf(self.path(f"{half}out.gguf"))
            self.assertEqual(before[1], after[1])
            self.assertEqual(before[0], {k: after[0][k] for k in before[0]})


if __name__ == "__main__":
    unittest.main()
