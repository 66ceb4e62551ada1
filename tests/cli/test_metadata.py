"""What a run records in the files it writes: under 2 KB in all, whatever the model, the plan and the file names."""
import json
import os
import struct
import unittest

from harness import CliTest
from models import F32, Shape, Tensor, gguf_string, gguf_value, read_gguf, write_gguf, write_llava

RECORDS = ("general.file_type", "general.quantization_version", "general.quantized_by", "llava_quantize.", "quantize.")
TYPES = ["q2_k", "q3_k", "q4_0", "q4_1", "q4_k", "q5_0", "q5_1", "q5_k", "q6_k", "q8_0", "iq4_nl", "iq4_xs", "bf16"]
LIMIT = 2048


def recorded(path):
    """The keys that tell of the run."""
    return {k: v for k, v in read_gguf(path)[0].items() if k.startswith(RECORDS)}


def size_of(keys):
    return sum(len(gguf_string(k)) + len(gguf_value(v)) for k, v in keys.items())


def write_imatrix(path, name, columns, dataset):
    row = struct.pack("<f", 1.0)
    write_gguf(path, {"general.type": "imatrix", "imatrix.datasets": [dataset], "imatrix.chunk_count": 1,
                      "imatrix.chunk_size": 512},
               {name + ".in_sum2": Tensor(F32, (columns, 1), row * columns), name + ".counts": Tensor(F32, (1, 1), row)})


class Records(CliTest):
    def test_the_worst_case_fits(self):
        folder, imatrix = self.path("M" * 240), self.path("I" * 240)
        blocks = len(TYPES)
        write_llava(folder, Shape(hidden=256, ff=256, blocks=blocks, vision_hidden=256, vision_ff=256,
                                  vision_blocks=blocks + 1))
        write_imatrix(imatrix, "blk.0.attn_q.weight", 256, "D" * 400)
        self.check([folder, "out", "q4_k", "-n", "-q", "--save-plan", "plan.json"])
        with open(self.path("plan.json"), encoding="utf-8") as f:
            plan = json.load(f)
        for i, t in enumerate(t for t in plan["tensors"] if t["type"] == "q4_k"):
            t["type"] = TYPES[i * 5 % len(TYPES)]
        plan["recipe"] = "R" * 95
        with open(self.path("plan.json"), "w", encoding="utf-8") as f:
            json.dump(plan, f)
        self.check([folder, "out.gguf", "-q", "--plan", "plan.json", "--imatrix", imatrix])
        for name in ("out.gguf", "mmproj-out.gguf"):
            keys = recorded(self.path(name))
            self.assertGreater(len(keys["llava_quantize.plan"]), 300, "the plan is no worst case")
            self.assertLess(size_of(keys), LIMIT, keys)
        self.assertEqual(recorded(self.path("out.gguf"))["quantize.imatrix.file"], "I" * 128)

    def test_what_is_recorded(self):
        self.check(["demo/model", "out.gguf", "q8_0", "-q", "--type", "projector=f16"])
        language, vision = (recorded(self.path(name)) for name in ("out.gguf", "mmproj-out.gguf"))
        pair_id = language["llava_quantize.pair_id"]
        self.assertRegex(pair_id, r"\A[0-9a-f]{32}\Z")
        common = {"general.file_type": 7, "general.quantization_version": 2,
                  "general.quantized_by": "llava-quantize 0.1.0", "llava_quantize.pair_id": pair_id,
                  "llava_quantize.source": "model", "llava_quantize.recipe": "Q8_0, 1 --type rule"}
        self.assertEqual(language, {**common, "llava_quantize.plan": "language.ffn=q8_0 language.attention=q8_0 "
                                    "language.embedding=q8_0 language.output=q8_0"})
        self.assertEqual(vision, {**common, "llava_quantize.plan": "vision.ffn=q8_0 vision.attention=q8_0 "
                                  "projector=f16"})


if __name__ == "__main__":
    unittest.main()
