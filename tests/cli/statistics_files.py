"""Statistics files made of random numbers, with and without what ours add to llama.cpp's form."""
import re
import struct

import numpy as np

from models import F16, F32, Tensor, read_gguf, write_gguf

F64 = 28


def f32(array, *ne):
    return Tensor(F32, ne, np.asarray(array, "<f4").tobytes())


def f64(array, *ne):
    return Tensor(F64, ne, np.asarray(array, "<f8").tobytes())


def measured(kind, names):
    """What planning keeps, of made-up numbers."""
    array, double = 9, 12
    values = np.arange(3.0 * len(names)).astype("<f8").tobytes()
    return {f"llava_quantize.measured.{kind}.terms": "pair: none\n",
            f"llava_quantize.measured.{kind}.names": names,
            f"llava_quantize.measured.{kind}.values": (array, struct.pack("<IQ", double, 3 * len(names)) + values)}


def matrices(*files):
    """What a pair's matrices are called, and how many columns they have; embeddings apart."""
    found = {}
    for file in files:
        for name, t in read_gguf(file)[1].items():
            if len(t.ne) == 2 and t.type == F16 and "embd" not in name:
                found[name] = t.ne[0]
    return found


class Made:
    """Statistics in llama.cpp's form (`parts`) and what ours adds (`more`), of random numbers."""

    def __init__(self, columns, pair, hessian):
        random = np.random.default_rng(7)
        self.keys = {"general.type": "imatrix", "imatrix.datasets": ["calibration.json", "text.txt"],
                     "imatrix.chunk_count": 40, "imatrix.chunk_size": 512}
        self.more_keys = {"llava_quantize.statistics.version": 1, "llava_quantize.statistics.pair": pair}
        self.parts, self.more, inputs = {}, {}, {}
        shared = {"attn_k": "attn_q", "attn_v": "attn_q", "ffn_gate": "ffn_up"}
        for name, n in columns.items():
            first = re.sub("attn_k|attn_v|ffn_gate", lambda m: shared[m[0]], name)
            if first not in inputs:
                inputs[first] = random.lognormal(0, 1, n) * 1000
                self.more[first + ".tokens"] = f64([600, 300, 100], 3, 1)
                self.more[first + ".weighted"] = f64([*inputs[first], 1000], n + 1, 1)
                if hessian:
                    packed = np.diag(inputs[first])[np.tril_indices(n)]
                    self.more[first + ".hessian"] = f32(packed, len(packed), 1)
                    self.more[first + ".spread"] = f64([1e6, 1000], 2, 1)
            self.parts[name + ".in_sum2"] = f32(inputs[first], n, 1)
            self.parts[name + ".counts"] = f32([1000], 1, 1)
        members = [n for n in columns if n not in inputs]
        self.more_keys["llava_quantize.statistics.members"] = members
        self.more_keys["llava_quantize.statistics.firsts"] = [
            re.sub("attn_k|attn_v|ffn_gate", lambda m: shared[m[0]], n) for n in members]
        self.more_keys |= measured("errors", sorted(f"q4_k {n}" for n in columns))
        self.more_keys |= measured("divergences", ["plan", "q3_k " + " ".join(sorted(columns))])

    def write(self, ours, plain=None):
        write_gguf(ours, {**self.keys, **self.more_keys}, {**self.parts, **self.more})
        if plain:
            write_gguf(plain, self.keys, self.parts)
