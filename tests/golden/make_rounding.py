"""What rounding the inputs of the demo model's matrices to 8 bits does to their outputs, by PyTorch.

    python make_rounding.py > rounding.txt      (torch, transformers, sentencepiece, pillow)

Asks the questions of 16 of the calibration records, evenly spread, one by one through Hugging Face's LLaVA. For each
linear layer, a line: the name of its matrix in GGUF, and the squared error of its outputs relative to their size when
its inputs, block by block, are rounded to whole multiples of a 127th of their largest magnitude; in blocks of 32, and
of 256.
"""
import json
import os
import re

import numpy as np
import torch
from PIL import Image
from sentencepiece import SentencePieceProcessor
from transformers import LlavaForConditionalGeneration

DEMO = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "demo")
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "out_proj": "attn_out",
         "fc1": "ffn_up", "fc2": "ffn_down", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
BLOCKS, RECORDS, PICTURE, PATCHES = (32, 256), 16, 510, 64
sums = {}


def gguf_name(name):
    """Of a linear layer; None for one that GGUF leaves out (the tower's last block)."""
    block = re.search(r"layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)$", name)
    if block is None:
        return {"linear_1": "mm.0", "linear_2": "mm.2", "lm_head": "output"}[name.rsplit(".", 1)[-1]] + ".weight"
    vision = "vision" in name
    if vision and block[1] == "4":
        return None
    return f"{'v.' if vision else ''}blk.{block[1]}.{NAMES[block[2]]}.weight"


def rounded(x, block):
    parts = x.reshape(-1, block)
    scale = parts.abs().amax(1, keepdim=True) / 127
    return (torch.round(parts / scale.clamp_min(1e-30)) * scale).reshape(x.shape)


def watch(name, layer):
    def hook(_, inputs, __):
        x = inputs[0].reshape(-1, inputs[0].shape[-1])
        total = sums.setdefault(name, np.zeros(3))
        for i, block in enumerate(BLOCKS):
            total[i] += ((rounded(x, block) - x) @ layer.weight.T).double().pow(2).sum().item()
        total[2] += (x @ layer.weight.T).double().pow(2).sum().item()
    layer.register_forward_hook(hook)


def main():
    model = LlavaForConditionalGeneration.from_pretrained(f"{DEMO}/model", dtype=torch.float32).eval()
    pieces = SentencePieceProcessor(model_file=f"{DEMO}/model/tokenizer.model")
    for name, layer in model.named_modules():
        if isinstance(layer, torch.nn.Linear) and gguf_name(name):
            watch(gguf_name(name), layer)
    with open(f"{DEMO}/calibration.json", encoding="utf-8") as f:
        records = json.load(f)
    for record in [records[i * len(records) // RECORDS] for i in range(RECORDS)]:
        pixels = (np.asarray(Image.open(f"{DEMO}/{record['image']}").convert("RGB")) / 255 - MEAN) / STD
        pixels = torch.tensor(pixels).permute(2, 0, 1)[None].float()
        said = [turn["value"].replace("<image>\n", "") for turn in record["conversations"]]
        for question, answer in zip(said[::2], said[1::2]):
            tokens = [1, *pieces.encode("USER:"), *PATCHES * [PICTURE], *pieces.encode(f"\n{question} ASSISTANT:"),
                      *pieces.encode(answer), 2]
            with torch.no_grad():
                model(input_ids=torch.tensor([tokens]), pixel_values=pixels)
    for name, total in sorted(sums.items()):
        print(name, *(f"{error:.4g}" for error in total[:2] / total[2]))


if __name__ == "__main__":
    main()
