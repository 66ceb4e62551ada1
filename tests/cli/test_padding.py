"""Feed-forwards of the tower that no block divides: the choice as users see it, the data, and what the runtime computes."""
import json
import platform

import numpy as np

from harness import CliTest
from models import F16, F32, Shape, Tensor, read_gguf, tensor, write_gguf, write_llava, write_pair

HIDDEN_KEY = "clip.vision.feed_forward_length"


def widened(array, shape):
    out = np.zeros(shape, np.float32)
    out[tuple(slice(0, n) for n in array.shape)] = array
    return out


class PaddingTest(CliTest):
    def plan(self, *args):
        """Entries by name."""
        result = json.loads(self.check([*args, "--dry-run", "--json", "--quiet"]).out)
        return {entry["name"]: entry for entry in result["plan"]}

    def edit_plan(self, path, change):
        with open(self.path(path), encoding="utf-8") as f:
            plan = json.load(f)
        for entry in plan["tensors"]:
            change(entry)
        with open(self.path(path), "w", encoding="utf-8") as f:
            json.dump(plan, f)

    def widen_plan(self, path, before, after):
        """Another hidden size in every shape of the feed-forward."""
        def change(entry):
            if ".ffn_" in entry["name"]:
                entry["shape"] = [after if n == before else n for n in entry["shape"]]
        self.edit_plan(path, change)

    def check_padded(self, source, result, before, after):
        """The tensors of `result` are those of `source`, and zeros behind them."""
        self.assertEqual((source[0][HIDDEN_KEY], result[0][HIDDEN_KEY]), (before, after))
        for name, old in source[1].items():
            new, old = result[1][name].array(), old.array()
            if ".ffn_" in name and before in old.shape:
                self.assertEqual(new.shape, tuple(after if n == before else n for n in old.shape), name)
            np.testing.assert_array_equal(new, widened(old, new.shape), name)


class Choice(PaddingTest):
    def test_off_and_on(self):
        """Rows of 144 fit no block of 32: as they are they stay F16, padded to 160 they do not."""
        write_pair(self.path("tiny"), shape=Shape(vision_ff=144))
        down = "v.blk.0.ffn_down.weight"
        on, off = self.plan("tiny", "out", "q4_0"), self.plan("tiny", "out", "q4_0", "--no-pad")
        self.assertEqual((on[down]["to"], off[down]["to"]), ("q4_0", "f16"))
        self.assertIn("padded 144 -> 160 for q4_0, exact", on[down]["reason"])
        self.assertIn("padded 144 -> 160", on["v.blk.0.ffn_up.bias"]["reason"])
        self.assertNotIn("padded", on["v.blk.0.attn_q.weight"]["reason"] + on["v.blk.0.ffn_down.bias"]["reason"])
        self.assertNotIn("padded", "".join(e["reason"] for e in off.values()))
        for spec in ("copy", "f16"):
            self.assertNotIn("padded", "".join(e["reason"] for e in self.plan("tiny", "out", spec).values()), spec)

    def test_a_hugging_face_folder(self):
        write_llava(self.path("hf"), Shape(vision_ff=144))
        self.assertIn("padded 144 -> 160", self.plan("hf", "out", "q4_0")["v.blk.1.ffn_down.weight"]["reason"])


class Data(PaddingTest):
    def test_zeros_behind_the_original(self):
        write_pair(self.path("tiny"), shape=Shape(vision_ff=144))
        self.check(["tiny", "any", "f16", "--dry-run", "--save-plan", "plan.json", "--quiet"])
        self.widen_plan("plan.json", 144, 256)
        self.check(["tiny", "wide.gguf", "--plan", "plan.json", "--quiet"])
        source, result = (read_gguf(self.path(p)) for p in ("tiny/mmproj-tiny.gguf", "mmproj-wide.gguf"))
        self.check_padded(source, result, 144, 256)
        self.check(["verify", "wide.gguf", "--against", "tiny", "--max-error", "0"])

    def test_quantised_and_verified(self):
        write_pair(self.path("tiny"), shape=Shape(vision_ff=144))
        self.check(["tiny", "out.gguf", "q4_0", "--quiet"])
        keys, tensors = read_gguf(self.path("mmproj-out.gguf"))
        self.assertEqual(keys[HIDDEN_KEY], 160)
        self.assertEqual((tensors["v.blk.0.ffn_down.weight"].ne, tensors["v.blk.0.ffn_up.weight"].ne),
                         ((160, 64), (64, 160)))
        np.testing.assert_array_equal(tensors["v.blk.0.ffn_up.bias"].array()[144:], 0)
        self.check(["verify", "out.gguf", "--against", "tiny"])
        bias = tensors["v.blk.1.ffn_up.bias"].array()
        bias[150] = 1
        tensors["v.blk.1.ffn_up.bias"] = tensor(bias)
        keys.pop("llava_quantize.pair_id")
        write_gguf(self.path("mmproj-out.gguf"), keys, tensors)
        seen = self.check(["verify", "out.gguf", "--against", "tiny", "--only", "vision"], code=3).out
        self.assertIn("v.blk.1.ffn_up.bias", seen)

    def write_importance(self, path, tensors):
        """Importance data of the matrices as they are, growing along the rows."""
        data = {}
        for name, t in tensors.items():
            if name.startswith("v.blk.") and len(t.ne) == 2:
                data[name + ".in_sum2"] = Tensor(F32, (t.ne[0], 1), np.linspace(0.1, 9, t.ne[0], dtype="<f4").tobytes())
                data[name + ".counts"] = Tensor(F32, (1, 1), np.ones(1, "<f4").tobytes())
        write_gguf(path, {"general.type": "imatrix", "imatrix.datasets": ["none"], "imatrix.chunk_count": 1,
                          "imatrix.chunk_size": 512}, data)

    def test_importance_of_the_unpadded(self):
        """Data for rows of 144 serve rows padded to 256, even where a type demands them."""
        write_pair(self.path("tiny"), shape=Shape(vision_ff=144))
        self.write_importance(self.path("i.gguf"), read_gguf(self.path("tiny/mmproj-tiny.gguf"))[1])
        for spec in ("q4_k", "iq2_xxs"):
            self.check(["tiny", "out.gguf", "--vision", spec, "--language", "copy", "--imatrix", "i.gguf", "--force",
                        "--quiet"])
            tensors = read_gguf(self.path("mmproj-out.gguf"))[1]
            self.assertEqual(tensors["v.blk.0.ffn_down.weight"].ne, (256, 64))
            self.check(["verify", "out.gguf", "--against", "tiny"])


class Runtime(PaddingTest):
    def widen_demo(self, path, extra):
        """The demo's tower with so many hidden values more in each block."""
        keys, tensors = read_gguf(path)
        rng, before = np.random.default_rng(5), keys[HIDDEN_KEY]
        keys[HIDDEN_KEY] = before + extra
        for name, t in tensors.items():
            if ".ffn_" not in name or before not in t.ne:
                continue
            old = t.array()
            new = rng.normal(0, old.std(), [before + extra if n == before else n for n in old.shape])
            new[tuple(slice(0, n) for n in old.shape)] = old
            tensors[name] = tensor(new.astype(np.float32), "f16" if t.type == F16 else "f32")
        write_gguf(path, keys, tensors)
        return before + extra

    def test_the_same_embeddings(self):
        self.check(["convert", "demo/model", "odd.gguf", "--quiet"])
        hidden = self.widen_demo(self.path("mmproj-odd.gguf"), 16)
        self.check(["odd.gguf", "any", "f16", "--dry-run", "--save-plan", "plan.json", "--quiet"])
        self.widen_plan("plan.json", hidden, (hidden + 255) // 256 * 256)
        self.check(["odd.gguf", "wide.gguf", "--plan", "plan.json", "--quiet"])
        for more in ([], ["--stock"]):
            result = json.loads(self.check(["eval", "wide.gguf", "--against", "odd.gguf", "--data", "demo/exam.jsonl",
                                            "--limit", 3, "--threads", 1, "--json", "--quiet", *more]).out)
            worst = result["embedding"]["relative_error"]["max"]
            self.assertEqual(result["embedding"]["pictures"], 3)
            self.assertLessEqual(worst, 0 if platform.machine() == "x86_64" else 1e-5)
