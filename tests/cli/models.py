"""Tiny models for tests: Hugging Face LLaVA folders and GGUF files in every variant that the program takes or refuses.

    shape = Shape(hidden=256, kv_heads=2)
    weights = random_weights(shape, seed=1)
    write_llava("folder", shape, weights, layout="5.x", dtype="bf16", shards=3)
    write_pair("gguf-folder", "tiny", shape, weights)            # tiny.gguf and mmproj-tiny.gguf
    keys, tensors = read_gguf("gguf-folder/tiny.gguf")           # tensors: name -> Tensor(type, ne, data)

`weights` are float32 arrays under canonical names ("text.layers.0.mlp.up_proj.weight", "tower.pre_layrnorm.bias",
"projector.linear_1.weight", "head.weight"); the writers give them the names of a layout or of GGUF. The GGUF writer
here is written in numpy from the format's description: an independent check of the C importer.
"""
import json
import os
import struct
from dataclasses import dataclass

import numpy as np

F32, F16, BF16 = 0, 1, 30
TYPE_IDS = {"f32": F32, "f16": F16, "bf16": BF16}
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
CLIP_MEAN = [0.48145466, 0.4578275, 0.40821073]
CLIP_STD = [0.26862954, 0.26130258, 0.27577711]


@dataclass
class Shape:
    """Sizes of a LLaVA. The defaults make a pair of about 100 thousand weights."""
    hidden: int = 64
    ff: int = 128
    blocks: int = 2
    heads: int = 4
    kv_heads: int = 4
    head_dim: int = 0              # 0: hidden / heads
    vocab: int = 320
    context: int = 256
    tied: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    vision_hidden: int = 64
    vision_ff: int = 128
    vision_blocks: int = 3
    vision_heads: int = 4
    image: int = 32
    patch: int = 8
    feature_layer: int = -2
    act: str = "quick_gelu"

    @property
    def dim(self):
        return self.head_dim or self.hidden // self.heads

    @property
    def vision_used(self):
        f = self.feature_layer
        return f if f >= 0 else self.vision_blocks + 1 + f


def shapes(s):
    """Canonical tensor names and shapes (PyTorch order) of the whole model."""
    q, kv, d, v = s.heads * s.dim, s.kv_heads * s.dim, s.hidden, s.vision_hidden
    out = {"text.embed_tokens.weight": (s.vocab, d), "text.norm.weight": (d,)}
    for i in range(s.blocks):
        p = f"text.layers.{i}."
        out |= {p + "input_layernorm.weight": (d,), p + "post_attention_layernorm.weight": (d,),
                p + "self_attn.q_proj.weight": (q, d), p + "self_attn.k_proj.weight": (kv, d),
                p + "self_attn.v_proj.weight": (kv, d), p + "self_attn.o_proj.weight": (d, q),
                p + "mlp.gate_proj.weight": (s.ff, d), p + "mlp.up_proj.weight": (s.ff, d),
                p + "mlp.down_proj.weight": (d, s.ff)}
        if s.attention_bias:
            out |= {p + f"self_attn.{n}_proj.bias": (w,) for n, w in (("q", q), ("k", kv), ("v", kv), ("o", d))}
        if s.mlp_bias:
            out |= {p + f"mlp.{n}_proj.bias": (w,) for n, w in (("gate", s.ff), ("up", s.ff), ("down", d))}
    if not s.tied:
        out["head.weight"] = (s.vocab, d)
    positions = (s.image // s.patch) ** 2 + 1
    out |= {"tower.embeddings.class_embedding": (v,),
            "tower.embeddings.patch_embedding.weight": (v, 3, s.patch, s.patch),
            "tower.embeddings.position_embedding.weight": (positions, v)}
    for n in ("pre_layrnorm", "post_layernorm"):
        out |= {f"tower.{n}.weight": (v,), f"tower.{n}.bias": (v,)}
    for i in range(s.vision_blocks):
        p = f"tower.encoder.layers.{i}."
        for n in ("layer_norm1", "layer_norm2"):
            out |= {p + n + ".weight": (v,), p + n + ".bias": (v,)}
        for n in ("q", "k", "v", "out"):
            out |= {p + f"self_attn.{n}_proj.weight": (v, v), p + f"self_attn.{n}_proj.bias": (v,)}
        out |= {p + "mlp.fc1.weight": (s.vision_ff, v), p + "mlp.fc1.bias": (s.vision_ff,),
                p + "mlp.fc2.weight": (v, s.vision_ff), p + "mlp.fc2.bias": (v,)}
    out |= {"projector.linear_1.weight": (d, v), "projector.linear_1.bias": (d,),
            "projector.linear_2.weight": (d, d), "projector.linear_2.bias": (d,)}
    return out


def random_weights(shape, seed=0):
    """Weights whose activations stay of order one and whose logits are far from flat."""
    rng = np.random.default_rng(seed)
    out = {}
    for name, dims in shapes(shape).items():
        x = rng.standard_normal(dims).astype(np.float32)
        if "norm" in name and name.endswith("weight"):
            out[name] = 1 + 0.1 * x
        elif name.endswith("bias"):
            out[name] = 0.1 * x
        elif "embed" in name:
            out[name] = x if "patch" not in name else x / np.sqrt(np.prod(dims[1:]))
        else:
            out[name] = x * (2 if name == "head.weight" else 1) / np.sqrt(dims[1])
        out[name] = out[name].astype(np.float32)
    return out


# Hugging Face side

LAYOUTS = {
    "hub": {"text.": "language_model.model.", "head.": "language_model.lm_head.",
            "tower.": "vision_tower.vision_model.", "projector.": "multi_modal_projector."},
    "5.x": {"text.": "language_model.model.", "head.": "language_model.lm_head.", "tower.": "vision_tower.",
            "projector.": "multi_modal_projector."},
    "4.52": {"text.": "model.language_model.", "head.": "lm_head.", "tower.": "model.vision_tower.vision_model.",
             "projector.": "model.multi_modal_projector."},
}


def hf_name(canonical, layout="hub"):
    head, rest = canonical.split(".", 1)
    return LAYOUTS[layout][head + "."] + rest


def hf_config(shape, age="5.x", dtype="float16"):
    """config.json as a dictionary; "4.x" keeps rope_theta at the top of text_config, "5.x" under rope_parameters."""
    s = shape
    text = {"model_type": "llama", "hidden_size": s.hidden, "intermediate_size": s.ff, "num_hidden_layers": s.blocks,
            "num_attention_heads": s.heads, "num_key_value_heads": s.kv_heads, "vocab_size": s.vocab,
            "hidden_act": "silu", "max_position_embeddings": s.context, "rms_norm_eps": 1e-5,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": s.vocab - 1,
            "attention_bias": s.attention_bias, "mlp_bias": s.mlp_bias, "tie_word_embeddings": s.tied}
    if s.head_dim:
        text["head_dim"] = s.head_dim
    if age == "4.x":
        text |= {"rope_theta": 10000.0, "rope_scaling": None}
    else:
        text["rope_parameters"] = {"rope_theta": 10000.0, "rope_type": "default"}
    vision = {"model_type": "clip_vision_model", "hidden_size": s.vision_hidden, "intermediate_size": s.vision_ff,
              "num_hidden_layers": s.vision_blocks, "num_attention_heads": s.vision_heads, "image_size": s.image,
              "patch_size": s.patch, "num_channels": 3, "hidden_act": s.act, "layer_norm_eps": 1e-5,
              "projection_dim": s.vision_hidden}
    return {"architectures": ["LlavaForConditionalGeneration"], "model_type": "llava", "text_config": text,
            "vision_config": vision, "image_token_index": s.vocab - 2, "projector_hidden_act": "gelu",
            "vision_feature_layer": s.feature_layer, "vision_feature_select_strategy": "default",
            "tie_word_embeddings": s.tied, "torch_dtype" if age == "4.x" else "dtype": dtype}


def encode(array, dtype):
    """A float32 array as the bytes of f32, f16 or bf16 (rounded to nearest even)."""
    a = np.ascontiguousarray(array, dtype=np.float32)
    if dtype == "f32":
        return a.tobytes()
    if dtype == "f16":
        return a.astype(np.float16).tobytes()
    bits = a.view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).tobytes()


def decode(data, type_id):
    """Bytes of f32, f16 or bf16 as a flat float32 array."""
    if type_id == F32:
        return np.frombuffer(data, np.float32).copy()
    if type_id == F16:
        return np.frombuffer(data, np.float16).astype(np.float32)
    return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)


def write_safetensors(path, tensors, dtype="f16"):
    """`tensors`: name -> float32 array, encoded as dtype, or name -> (DTYPE, shape, bytes) taken as it is."""
    header, blobs, at = {}, [], 0
    for name, value in tensors.items():
        if not isinstance(value, tuple):
            value = (dtype.upper(), list(value.shape), encode(value, dtype))
        kind, dims, data = value
        header[name] = {"dtype": kind, "shape": list(dims), "data_offsets": [at, at + len(data)]}
        blobs.append(data)
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_shards(folder, named, dtype, shards, index):
    names = list(named)
    files = ["model.safetensors"] if shards == 1 else \
        [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    where = {n: files[i * shards // len(names)] for i, n in enumerate(names)}
    for file in files:
        write_safetensors(os.path.join(folder, file), {n: named[n] for n in names if where[n] == file}, dtype)
    if index:
        with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
            json.dump({"metadata": {}, "weight_map": where}, f)


def write_llava(folder, shape=None, weights=None, *, layout="hub", age="5.x", dtype="f16", shards=1, index=None,
                edit_config=None, edit_tensors=None, tokenizer_bytes=None):
    """A Hugging Face folder. edit_config(dict) and edit_tensors(dict of final names) may change what is written."""
    shape = shape or Shape()
    weights = weights if weights is not None else random_weights(shape)
    os.makedirs(folder, exist_ok=True)
    config = hf_config(shape, age, {"f16": "float16", "bf16": "bfloat16", "f32": "float32"}[dtype])
    named = {hf_name(n, layout): w for n, w in weights.items()}
    if edit_config:
        edit_config(config)
    if edit_tensors:
        edit_tensors(named)
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    with open(os.path.join(folder, "tokenizer.model"), "wb") as f:
        f.write(tokenizer_bytes if tokenizer_bytes is not None else tokenizer())
    write_shards(folder, named, dtype, shards, index if index is not None else shards > 1)
    return folder


# SentencePiece

def varint(n):
    out = b""
    while True:
        out += bytes([n & 0x7F | (0x80 if n > 0x7F else 0)])
        n >>= 7
        if not n:
            return out


def field(number, value):
    """One protobuf field: int -> varint, float -> 32 bits, bytes or str -> length and bytes."""
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def pieces():
    """(text, score, type) of the small vocabulary: specials, 256 bytes, letters and a few merges; 308 in all."""
    out = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    out += [(f"<0x{i:02X}>", 0.0, BYTE) for i in range(256)]
    words = ["\u2581t", "he", "\u2581a", "in", "\u2581the", "er", "on", "re"]
    letters = ["\u2581"] + [chr(c) for c in range(ord("a"), ord("z") + 1)] + list("USERAINT:?.,!\n")
    return out + [(w, float(-i), NORMAL) for i, w in enumerate(words + list(dict.fromkeys(letters)))]


def tokenizer(model_type=2, extra=()):
    """Bytes of a tokenizer.model; model_type 2 is BPE, 1 unigram. `extra` pieces are appended."""
    out = b"".join(field(1, field(1, t) + field(2, s) + field(3, k)) for t, s, k in [*pieces(), *extra])
    out += field(2, field(3, model_type) + field(35, 1) + field(40, 0) + field(41, 1) + field(42, 2))
    return out + field(3, field(1, "identity") + field(3, 1) + field(4, 0))


# GGUF

@dataclass
class Tensor:
    type: int
    ne: tuple
    data: bytes

    def array(self):
        return decode(self.data, self.type).reshape(self.ne[::-1])


def tensor(array, dtype="f32"):
    return Tensor(TYPE_IDS[dtype], tuple(array.shape[::-1]), encode(array, dtype))


def gguf_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(value):
    """bool, int (u32), float, str, or a list of one kind (ints as i32); (type id, bytes) as it is."""
    if isinstance(value, tuple):
        return struct.pack("<I", value[0]) + value[1]
    if isinstance(value, bool):
        return struct.pack("<I?", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", UINT32, value)
    if isinstance(value, float):
        return struct.pack("<If", FLOAT32, value)
    if isinstance(value, (str, bytes)):
        return struct.pack("<I", STRING) + gguf_string(value)
    kind = STRING if isinstance(value[0], (str, bytes)) else FLOAT32 if isinstance(value[0], float) else INT32
    body = b"".join(gguf_string(v) for v in value) if kind == STRING else \
        np.array(value, np.float32 if kind == FLOAT32 else np.int32).tobytes()
    return struct.pack("<IIQ", ARRAY, kind, len(value)) + body


def write_gguf(path, keys, tensors, alignment=32):
    """`tensors`: name -> Tensor. The alignment is written only where it is not 32."""
    if alignment != 32:
        keys = {**keys, "general.alignment": alignment}
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    head += b"".join(gguf_string(k) + gguf_value(v) for k, v in keys.items())
    at, body = 0, b""
    for name, t in tensors.items():
        head += gguf_string(name) + struct.pack(f"<I{len(t.ne)}QIQ", len(t.ne), *t.ne, t.type, at)
        body += t.data + b"\0" * (-len(t.data) % alignment)
        at += len(t.data) + -len(t.data) % alignment
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % alignment) + body)


VALUE_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
          11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 16: (256, 66), 17: (256, 74), 18: (256, 98),
          19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 28: (1, 8), 29: (256, 56),
          30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18)}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        out = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return out if len(out) > 1 else out[0]

    def string(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode(errors="surrogateescape")

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind != ARRAY:
            return self.take(VALUE_FORMATS[kind])
        element, n = self.take("IQ")
        return [self.value(element) for _ in range(n)]


def read_gguf(path):
    """(keys, tensors): keys name -> value, tensors name -> Tensor."""
    with open(path, "rb") as f:
        r = Reader(f.read())
    magic, version, n_tensors, n_keys = r.take("4sIQQ")
    assert magic == b"GGUF" and version == 3, (magic, version)
    keys = {}
    for _ in range(n_keys):
        name = r.string()
        keys[name] = r.value(r.take("I"))
    infos = {}
    for _ in range(n_tensors):
        name = r.string()
        n = r.take("I")
        ne = tuple(r.take("Q") for _ in range(n))
        infos[name] = (ne, *r.take("IQ"))
    align = keys.get("general.alignment", 32)
    start = r.at + -r.at % align
    out = {}
    for name, (ne, kind, offset) in infos.items():
        block, size = BLOCKS[kind]
        n = int(np.prod(ne)) // block * size
        out[name] = Tensor(kind, ne, r.data[start + offset:start + offset + n])
    return keys, out


# Conversion in numpy: what the C importer must produce

TEXT_NAMES = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
              "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
TOWER_NAMES = {"layer_norm1": "ln1", "layer_norm2": "ln2", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
               "self_attn.v_proj": "attn_v", "self_attn.out_proj": "attn_out", "mlp.fc1": "ffn_up",
               "mlp.fc2": "ffn_down"}
WHOLE_NAMES = {"text.embed_tokens.weight": "token_embd.weight", "text.norm.weight": "output_norm.weight",
               "head.weight": "output.weight", "tower.embeddings.class_embedding": "v.class_embd",
               "tower.embeddings.patch_embedding.weight": "v.patch_embd.weight",
               "tower.embeddings.position_embedding.weight": "v.position_embd.weight",
               "tower.pre_layrnorm.weight": "v.pre_ln.weight", "tower.pre_layrnorm.bias": "v.pre_ln.bias",
               "projector.linear_1.weight": "mm.0.weight", "projector.linear_1.bias": "mm.0.bias",
               "projector.linear_2.weight": "mm.2.weight", "projector.linear_2.bias": "mm.2.bias"}
FIXED = ("norm", "bias", ".ln", "_ln.", "class_embd", "position_embd", "patch_embd")


def gguf_name(canonical, shape):
    """None for what the conversion leaves out."""
    if canonical in WHOLE_NAMES:
        return WHOLE_NAMES[canonical]
    parts = canonical.split(".")
    if parts[1] == "layers":
        return f"blk.{parts[2]}.{TEXT_NAMES['.'.join(parts[3:-1])]}.{parts[-1]}"
    if parts[1] == "encoder" and int(parts[3]) < shape.vision_used:
        return f"v.blk.{parts[3]}.{TOWER_NAMES['.'.join(parts[4:-1])]}.{parts[-1]}"
    return None


def permute(array, heads):
    """Rows of each head from halves to pairs, as llama.cpp's rotation wants them."""
    return array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def gguf_tensors(shape, weights, dtype="f16"):
    """(language, vision): name -> Tensor, matrices as dtype, everything else f32."""
    halves = {}, {}
    for name, array in weights.items():
        target = gguf_name(name, shape)
        if target is None:
            continue
        if ".attn_q." in target and not target.startswith("v."):
            array = permute(array, shape.heads)
        if ".attn_k." in target and not target.startswith("v."):
            array = permute(array, shape.kv_heads)
        kind = "f32" if any(f in target for f in FIXED) else dtype
        halves[target.startswith(("v.", "mm."))][target] = tensor(array, kind)
    return halves


def language_keys(shape, name="tiny"):
    s = shape
    tokens = pieces()
    tokens += [(f"[PAD{i}]", -10000.0, UNUSED) for i in range(len(tokens), s.vocab - 2)]
    tokens += [("<image>", -1000.0, CONTROL), ("<pad>", -1000.0, CONTROL)]
    return {"general.architecture": "llama", "general.type": "model", "general.name": name, "general.file_type": 1,
            "llama.context_length": s.context, "llama.embedding_length": s.hidden, "llama.block_count": s.blocks,
            "llama.feed_forward_length": s.ff, "llama.attention.head_count": s.heads,
            "llama.attention.head_count_kv": s.kv_heads, "llama.attention.key_length": s.dim,
            "llama.attention.value_length": s.dim, "llama.attention.layer_norm_rms_epsilon": 1e-5,
            "llama.rope.freq_base": 10000.0, "llama.rope.dimension_count": s.dim, "llama.vocab_size": s.vocab,
            "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default",
            "tokenizer.ggml.tokens": [t for t, _, _ in tokens], "tokenizer.ggml.scores": [x for _, x, _ in tokens],
            "tokenizer.ggml.token_type": [k for _, _, k in tokens], "tokenizer.ggml.bos_token_id": 1,
            "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0,
            "tokenizer.ggml.padding_token_id": s.vocab - 1, "tokenizer.ggml.add_bos_token": True,
            "tokenizer.ggml.add_eos_token": False, "tokenizer.ggml.add_space_prefix": True}


def vision_keys(shape, name="tiny"):
    s = shape
    return {"general.architecture": "clip", "general.type": "mmproj", "general.name": name, "general.file_type": 1,
            "clip.has_vision_encoder": True, "clip.has_llava_projector": True, "clip.projector_type": "mlp",
            "clip.use_gelu": s.act != "quick_gelu", "clip.vision.image_size": s.image,
            "clip.vision.patch_size": s.patch, "clip.vision.embedding_length": s.vision_hidden,
            "clip.vision.feed_forward_length": s.vision_ff, "clip.vision.projection_dim": s.vision_hidden,
            "clip.vision.block_count": s.vision_used, "clip.vision.attention.head_count": s.vision_heads,
            "clip.vision.attention.layer_norm_epsilon": 1e-5, "clip.vision.image_mean": CLIP_MEAN,
            "clip.vision.image_std": CLIP_STD, "clip.vision.feature_layer": [s.vision_used]}


def write_pair(folder, name="tiny", shape=None, weights=None, dtype="f16", alignment=32, edit=None):
    """NAME.gguf and mmproj-NAME.gguf; edit(half, keys, tensors) may change either. Returns both paths."""
    shape = shape or Shape()
    weights = weights if weights is not None else random_weights(shape)
    os.makedirs(folder, exist_ok=True)
    language, vision = gguf_tensors(shape, weights, dtype)
    paths = os.path.join(folder, f"{name}.gguf"), os.path.join(folder, f"mmproj-{name}.gguf")
    halves = (("language", language_keys(shape, name), language), ("vision", vision_keys(shape, name), vision))
    for path, (half, keys, tensors) in zip(paths, halves):
        if edit:
            edit(half, keys, tensors)
        write_gguf(path, keys, tensors, alignment)
    return paths
