"""Makes the golden files of the readers' unit tests with the formats' own packages.

    python3 -m venv env && env/bin/pip install numpy gguf==0.17.1 safetensors==0.6.2
    env/bin/python tests/golden/make_source.py tests/golden
"""

import pathlib
import struct
import sys

import gguf
import numpy as np
import safetensors

FOLDER = pathlib.Path(sys.argv[1])


def mixed_gguf():
    w = gguf.GGUFWriter(FOLDER / "mixed.gguf", "golden")
    w.add_custom_alignment(64)
    for name, value in (("uint8", 200), ("int8", -100), ("uint16", 60000), ("int16", -30000), ("uint32", 4000000000),
                        ("int32", -2000000000), ("float32", 0.1), ("bool", True), ("string", "grüße"),
                        ("uint64", 2**63 + 1), ("int64", -(2**62)), ("float64", 0.1)):
        getattr(w, f"add_{name}")(f"golden.{name}", value)
    w.add_array("golden.integers", [1, -2, 3])
    w.add_array("golden.floats", [0.5, 1.5])
    w.add_array("golden.bools", [True, False, True])
    w.add_array("golden.strings", ["", "a", "ßé", "x" * 300])
    w.add_tensor("first.weight", np.arange(6, dtype=np.float32).reshape(2, 3))
    w.add_tensor("second.weight", np.arange(8, dtype=np.float16).reshape(2, 2, 2))
    row = np.arange(-15, 17, dtype=np.float32)
    row[0] = -127
    blocks = gguf.quants.quantize(np.stack([row, -row]), gguf.GGMLQuantizationType.Q8_0)
    w.add_tensor("blk.0.ffn_up.weight", blocks, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    w.add_tensor("ids", np.array([7, -7], dtype=np.int32))
    write(w)


def write(w):
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def mixed_safetensors():
    def tensor(dtype, array):
        return {"dtype": dtype, "shape": array.shape, "data": array.tobytes()}

    bf16 = (np.array([1.5, -2.0], dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    data = safetensors.serialize({
        "vision.weight": tensor("float32", np.arange(6, dtype=np.float32).reshape(2, 3)),
        "half.weight": tensor("float16", np.arange(24, dtype=np.float16).reshape(2, 3, 4)),
        "brain.weight": tensor("bfloat16", bf16),
        "position_ids": tensor("int64", np.arange(3, dtype=np.int64).reshape(1, 3)),
        "mask": tensor("bool", np.array([True, False, True])),
        "scalar": tensor("float64", np.array(0.25)),
    }, {"format": "pt"})
    (FOLDER / "mixed.safetensors").write_bytes(data)


# Two experts' sums, the third never asked; a tensor of zeros; a count that is rounded.
EXPERTS = np.array([[1, 2, 3, 4], [10, 20, 30, 40], [9, 9, 9, 9]], dtype=np.float32)
MATRIX = np.array([1, 0, 2, 7], dtype=np.float32)


def imatrix_gguf():
    w = gguf.GGUFWriter(FOLDER / "imatrix.gguf", "")
    w.add_type("imatrix")
    w.add_array("imatrix.datasets", ["pictures.jsonl", "text.txt"])
    w.add_uint32("imatrix.chunk_count", 12)
    w.add_uint32("imatrix.chunk_size", 512)
    w.add_tensor("blk.0.ffn_up_exps.weight.in_sum2", EXPERTS)
    w.add_tensor("blk.0.ffn_up_exps.weight.counts", np.array([[3], [7], [0]], dtype=np.float32))
    w.add_tensor("blk.0.attn_q.weight.in_sum2", MATRIX.reshape(1, 4))
    w.add_tensor("blk.0.attn_q.weight.counts", np.array([[3.4]], dtype=np.float32))
    w.add_tensor("blk.1.attn_q.weight.in_sum2", np.zeros((1, 4), dtype=np.float32))
    w.add_tensor("blk.1.attn_q.weight.counts", np.array([[3]], dtype=np.float32))
    write(w)


def imatrix_dat():
    def text(s):
        return struct.pack("<i", len(s)) + s.encode()

    def entry(name, calls, values):
        return text(name) + struct.pack("<ii", calls, values.size) + values.astype("<f4").tobytes()

    (FOLDER / "imatrix.dat").write_bytes(
        struct.pack("<i", 3) + entry("blk.0.attn_q.weight", 3, MATRIX) + entry("blk.1.attn_q.weight", 3, MATRIX * 0) +
        entry("blk.2.attn_q.weight", 0, MATRIX) + struct.pack("<i", 12) + text("wiki.train.raw"))


for make in (mixed_gguf, mixed_safetensors, imatrix_gguf, imatrix_dat):
    make()
