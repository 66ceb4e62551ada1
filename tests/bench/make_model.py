"""Models of real shapes for the benchmark, with made-up weights.

    python3 make_model.py FOLDER [NAME ...]

writes FOLDER/NAME/*.gguf, F16, for each of: language (LLaVA-1.5-7B's decoder with 3 of its 32 blocks, 870 M weights),
clip (the CLIP-L/14-336 tower and projector), siglip (SigLIP-so400m, whose 4304-wide rows fit no block), large (the
decoder with 12 blocks, three times the bytes; not made unless named). Weights are normal, with a scale per row and a few outlier columns, which is what real ones look like to an encoder. The same NAME
always gives the same bytes; what is there already is kept.
"""
import json
import os
import struct
import sys
import zlib

import numpy as np

F32, F16 = 0, 1
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
ALIGNMENT = 32
CHUNK = 1 << 22  # weights made at once

MEAN = [0.48145466, 0.4578275, 0.40821073]
DEVIATION = [0.26862954, 0.26130258, 0.27577711]


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


PACK = {UINT32: lambda v: struct.pack("<I", v), INT32: lambda v: struct.pack("<i", v),
        FLOAT32: lambda v: struct.pack("<f", v), BOOL: lambda v: struct.pack("<?", v), STRING: text}


def pair(key, kind, value):
    if kind == ARRAY:
        element, values = value
        body = struct.pack("<IQ", element, len(values)) + b"".join(PACK[element](v) for v in values)
    else:
        body = PACK[kind](value)
    return text(key) + struct.pack("<I", kind) + body


def vocabulary(n=32000):
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    kinds = [2, 3, 3] + [6] * 256
    tokens += [f"\u2581w{i}" for i in range(n - len(tokens))]
    kinds += [1] * (n - len(kinds))
    return [("tokenizer.ggml.model", STRING, "llama"), ("tokenizer.ggml.tokens", ARRAY, (STRING, tokens)),
            ("tokenizer.ggml.scores", ARRAY, (FLOAT32, [-float(i) for i in range(n)])),
            ("tokenizer.ggml.token_type", ARRAY, (INT32, kinds)), ("tokenizer.ggml.bos_token_id", UINT32, 1),
            ("tokenizer.ggml.eos_token_id", UINT32, 2)]


def language(width=4096, feed=11008, blocks=3, vocab=32000):
    keys = [("general.architecture", STRING, "llama"), ("general.name", STRING, "bench"),
            ("general.file_type", UINT32, 1), ("llama.block_count", UINT32, blocks),
            ("llama.context_length", UINT32, 4096), ("llama.embedding_length", UINT32, width),
            ("llama.feed_forward_length", UINT32, feed), ("llama.attention.head_count", UINT32, 32),
            ("llama.attention.head_count_kv", UINT32, 32), ("llama.rope.dimension_count", UINT32, 128),
            ("llama.attention.layer_norm_rms_epsilon", FLOAT32, 1e-5), ("llama.vocab_size", UINT32, vocab)]
    tensors = [("token_embd.weight", F16, (width, vocab))]
    for i in range(blocks):
        p = f"blk.{i}."
        tensors += [(p + "attn_norm.weight", F32, (width,))]
        tensors += [(p + f"attn_{n}.weight", F16, (width, width)) for n in ("q", "k", "v", "output")]
        tensors += [(p + "ffn_norm.weight", F32, (width,)), (p + "ffn_gate.weight", F16, (width, feed)),
                    (p + "ffn_up.weight", F16, (width, feed)), (p + "ffn_down.weight", F16, (feed, width))]
    tensors += [("output_norm.weight", F32, (width,)), ("output.weight", F16, (width, vocab))]
    return keys + vocabulary(vocab), tensors


def tower(name, width, feed, blocks, heads, image, patch, joined=4096, class_token=True):
    keys = [("general.architecture", STRING, "clip"), ("general.name", STRING, name), ("general.file_type", UINT32, 1),
            ("clip.has_vision_encoder", BOOL, True), ("clip.projector_type", STRING, "mlp"),
            ("clip.use_gelu", BOOL, not class_token), ("clip.vision.image_size", UINT32, image),
            ("clip.vision.patch_size", UINT32, patch), ("clip.vision.embedding_length", UINT32, width),
            ("clip.vision.feed_forward_length", UINT32, feed), ("clip.vision.projection_dim", UINT32, joined),
            ("clip.vision.block_count", UINT32, blocks), ("clip.vision.attention.head_count", UINT32, heads),
            ("clip.vision.attention.layer_norm_epsilon", FLOAT32, 1e-5),
            ("clip.vision.image_mean", ARRAY, (FLOAT32, MEAN)), ("clip.vision.image_std", ARRAY, (FLOAT32, DEVIATION)),
            ("clip.vision.feature_layer", ARRAY, (INT32, [blocks]))]
    positions = (image // patch) ** 2 + class_token
    tensors = [("v.class_embd", F32, (width,))] if class_token else []
    tensors += [("v.patch_embd.weight", F16, (patch, patch, 3, width)),
                ("v.position_embd.weight", F32, (width, positions))]
    tensors += [("v.pre_ln.weight", F32, (width,)), ("v.pre_ln.bias", F32, (width,))] if class_token else []
    for i in range(blocks):
        p = f"v.blk.{i}."
        matrices = [(n, width, width) for n in ("attn_q", "attn_k", "attn_v", "attn_out")]
        matrices += [("ffn_up", width, feed), ("ffn_down", feed, width)]
        for n, columns, rows in matrices:
            tensors += [(p + n + ".weight", F16, (columns, rows)), (p + n + ".bias", F32, (rows,))]
        tensors += [(p + n, F32, (width,)) for n in ("ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias")]
    tensors += [("mm.0.weight", F16, (width, joined)), ("mm.0.bias", F32, (joined,)),
                ("mm.2.weight", F16, (joined, joined)), ("mm.2.bias", F32, (joined,))]
    return keys, tensors


MODELS = {
    "language": ("bench.gguf", language),
    "clip": ("mmproj-clip.gguf", lambda: tower("clip", 1024, 4096, 23, 16, 336, 14)),
    "siglip": ("mmproj-siglip.gguf", lambda: tower("siglip", 1152, 4304, 26, 16, 384, 14, class_token=False)),
    "large": ("bench-large.gguf", lambda: language(blocks=12)),
}


class Weights:
    """Rows of made-up weights: one pool of normal numbers, cut at changing places and scaled by row and column."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.pool = self.random.standard_normal(CHUNK + (1 << 20), dtype=np.float32)

    def chunks(self, columns, rows):
        column_scale = np.ones(columns, np.float32)
        outliers = self.random.choice(columns, max(1, columns // 512), replace=False)
        column_scale[outliers] = self.random.uniform(3, 12, len(outliers))
        step = max(1, CHUNK // columns)
        for first in range(0, rows, step):
            n = min(step, rows - first)
            at = int(self.random.integers(1 << 20))
            row_scale = self.random.lognormal(-4, 0.3, (n, 1)).astype(np.float32)
            yield self.pool[at:at + n * columns].reshape(n, columns) * row_scale * column_scale


def padded(n):
    return -n % ALIGNMENT


def write(path, keys, tensors, seed):
    header = struct.pack("<IIQQ", 0x46554747, 3, len(tensors), len(keys)) + b"".join(pair(*k) for k in keys)
    offset = 0
    for name, kind, ne in tensors:
        header += text(name) + struct.pack(f"<I{len(ne)}QIQ", len(ne), *ne, kind, offset)
        size = int(np.prod(ne)) * (4 if kind == F32 else 2)
        offset += size + padded(size)
    header += bytes(padded(len(header)))
    weights = Weights(seed)
    with open(path + ".tmp", "wb") as f:
        f.write(header)
        for name, kind, ne in tensors:
            columns, rows = ne[0], int(np.prod(ne[1:]))
            for chunk in weights.chunks(columns, rows):
                f.write(chunk.astype(np.float32 if kind == F32 else np.float16).tobytes())
            f.write(bytes(padded(f.tell())))
    n = sum(int(np.prod(ne)) for _, _, ne in tensors)
    with open(path + ".json", "w") as f:
        json.dump({"weights": n, "header_bytes": len(header)}, f)
    os.rename(path + ".tmp", path)


def make(folder, name):
    """Path of the model; written when it is not there yet."""
    file, shape = MODELS[name]
    os.makedirs(os.path.join(folder, name), exist_ok=True)
    path = os.path.join(folder, name, file)
    if not os.path.exists(path):
        write(path, *shape(), seed=zlib.crc32(name.encode()))
    return path


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    for wanted in sys.argv[2:] or [n for n in MODELS if n != "large"]:
        print(make(sys.argv[1], wanted))
