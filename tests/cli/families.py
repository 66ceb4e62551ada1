"""Small pairs with random weights of shapes that the demo has not, as GGUF files that llama.cpp runs: a tower like
SigLIP's and a decoder of each kind.

    write_family("folder", "grouped")         # grouped.gguf and mmproj-grouped.gguf; returns both paths
    python3 families.py FOLDER                # all of them, for tests in C: LQ_PAIRS "/fused.gguf"

The tower: no class token, plain GELU, a bias to the patches, a width that divides by 32 but not by 256, a feed-forward
that divides by neither. The decoders: `grouped` is a llama whose heads share keys and values, with a feed-forward as
long as a super-block, and so is `tied`, without a matrix of its own for the output; `fused` is a phi3, whose attn_qkv and ffn_up hold several matrices in one; `experts` is a llama
with four experts, of which each token takes two.
"""
import os
import sys

import numpy as np

from models import Shape, random_weights, tensor, write_pair

EXPERTS, EXPERTS_USED = 4, 2
SHAPE = {"hidden": 64, "ff": 256, "kv_heads": 2, "context": 1024, "vision_hidden": 96, "vision_ff": 360, "act": "gelu"}
SHAPES = {"grouped": Shape(**SHAPE), "tied": Shape(**SHAPE, tied=True), "fused": Shape(**{**SHAPE, "ff": 96}), "experts": Shape(**{**SHAPE, "ff": 96})}
CLASS = "tower.embeddings.class_embedding"
POSITIONS = "tower.embeddings.position_embedding.weight"


def weights_of(shape, seed):
    """Random weights of a tower without class token and norm before its blocks."""
    weights = random_weights(shape, seed)
    weights[POSITIONS] = weights[POSITIONS][1:]
    return {name: w for name, w in weights.items() if name != CLASS and ".pre_layrnorm." not in name}


def like_siglip(keys, tensors):
    keys |= {"clip.vision.attention.layer_norm_epsilon": 1e-6, "clip.vision.image_mean": [0.5] * 3,
             "clip.vision.image_std": [0.5] * 3}
    tensors["v.patch_embd.bias"] = tensor(np.linspace(-0.1, 0.1, SHAPE["vision_hidden"], dtype=np.float32))


def joined(tensors, names, target):
    """Puts one matrix in the place of several, their rows one behind the other."""
    tensors[target] = tensor(np.concatenate([tensors.pop(name).array() for name in names]), "f16")


def fuse(keys, tensors, blocks):
    for key in [key for key in keys if key.startswith("llama.")]:
        keys[key.replace("llama", "phi3", 1)] = keys.pop(key)
    keys["general.architecture"] = "phi3"
    for p in (f"blk.{i}." for i in range(blocks)):
        joined(tensors, [f"{p}attn_{n}.weight" for n in "qkv"], p + "attn_qkv.weight")
        joined(tensors, [f"{p}ffn_gate.weight", f"{p}ffn_up.weight"], p + "ffn_up.weight")


def add_experts(keys, tensors, blocks):
    """Experts are the block's own feed-forward, each with noise of its own."""
    keys |= {"llama.expert_count": EXPERTS, "llama.expert_used_count": EXPERTS_USED}
    rng = np.random.default_rng(5)
    for p in (f"blk.{i}.ffn_" for i in range(blocks)):
        for name in ("gate", "up", "down"):
            w = tensors.pop(f"{p}{name}.weight").array()
            experts = w + rng.standard_normal((EXPERTS, *w.shape)) / np.sqrt(w.shape[1])
            tensors[f"{p}{name}_exps.weight"] = tensor(experts.astype(np.float32), "f16")
        router = rng.standard_normal((EXPERTS, SHAPE["hidden"])) / np.sqrt(SHAPE["hidden"])
        tensors[f"{p}gate_inp.weight"] = tensor(router.astype(np.float32))


DECODERS = {"grouped": None, "fused": fuse, "experts": add_experts}


def write_family(folder, kind):
    shape, decoder = SHAPES[kind], DECODERS.get(kind)

    def edit(half, keys, tensors):
        if half == "vision":
            like_siglip(keys, tensors)
        elif decoder:
            decoder(keys, tensors, shape.blocks)

    return write_pair(folder, kind, shape, weights_of(shape, seed=7), edit=edit)


if __name__ == "__main__":
    for family in SHAPES:
        write_family(sys.argv[1], family)
