"""Goldens from Hugging Face: python make_hf.py OUT TOKENIZER_MODEL

Needs torch, transformers, sentencepiece, pillow and numpy. Writes OUT/picture.png and one folder per variant, whose
tokenizer.model is a link to TOKENIZER_MODEL: a tiny LLaVA with random weights, saved by transformers itself (or renamed
to the layout of older releases), and `golden.json` + `logprobs.f32`: the tokens of a prompt and an answer, and the
float32 log-probabilities of `LlavaForConditionalGeneration` at every answer position (rows of vocab_size floats). The
weights are scaled so that the distributions are far from flat and a wrong permutation, activation or layer shows.
tests/unit/test_golden_hf.c replays them.
"""
import json
import os
import shutil
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from sentencepiece import SentencePieceProcessor
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

MEAN = np.array([0.48145466, 0.4578275, 0.40821073])
STD = np.array([0.26862954, 0.26130258, 0.27577711])
QUESTION, ANSWER = "What is at the top left?", "large blue triangle"
IMAGE, PATCH, VOCAB = 32, 8, 512

VARIANTS = {
    "v5": {},
    "hub_f32": {"layout": "hub", "age": "4.x", "dtype": "f32"},
    "v452_bf16_sharded": {"layout": "4.52", "age": "4.x", "dtype": "bf16", "shards": 2, "index": True},
    "gqa_tied": {"text": {"num_key_value_heads": 2, "tie_word_embeddings": True}},
    "gelu_last_layer": {"vision": {"hidden_act": "gelu"}, "top": {"vision_feature_layer": -1}},
    "first_layer": {"top": {"vision_feature_layer": 1}},
    "head_dim_linear_rope": {"text": {"head_dim": 16, "attention_bias": True, "rope_parameters": {
        "rope_type": "linear", "factor": 2.0, "rope_theta": 5000.0}}},
    "square_ffn": {"vision": {"intermediate_size": 32}, "text": {"mlp_bias": True}},
}


def build(spec):
    text = {"vocab_size": VOCAB, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 4, "max_position_embeddings": 256, "rms_norm_eps": 1e-5,
            "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": VOCAB - 1, **spec.get("text", {})}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
              "image_size": IMAGE, "patch_size": PATCH, "projection_dim": 32, **spec.get("vision", {})}
    tied = text.get("tie_word_embeddings", False)
    config = LlavaConfig(vision_config=CLIPVisionConfig(**vision), text_config=LlamaConfig(**text),
                         image_token_index=VOCAB - 2, image_seq_length=(IMAGE // PATCH) ** 2,
                         tie_word_embeddings=tied, **spec.get("top", {}))
    return LlavaForConditionalGeneration(config).eval()


def randomise(model, seed):
    """Activations of order one everywhere, attention that is not uniform, logits a few units wide."""
    rng = np.random.default_rng(seed)
    for name, p in model.named_parameters():
        x = torch.tensor(rng.standard_normal(tuple(p.shape)).astype(np.float32))
        if p.ndim == 1:
            x = 1 + 0.2 * x if "norm" in name and name.endswith("weight") else 0.2 * x
        elif "embed_tokens" not in name:
            gain = 2.0 if "q_proj" in name or "k_proj" in name else 1.0
            x = gain * x / np.prod(p.shape[1:]) ** 0.5
        if "lm_head" in name or ("embed_tokens" in name and model.config.tie_word_embeddings):
            x = x * (1.5 if "lm_head" in name else 1.5 / p.shape[1] ** 0.5)
        p.data = x


def old_names(tensors, layout):
    """The names that transformers 5 writes, turned into those of an older release."""
    prefixes = {
        "hub": [("model.language_model.", "language_model.model."), ("lm_head.", "language_model.lm_head."),
                ("model.vision_tower.", "vision_tower."), ("model.multi_modal_projector.", "multi_modal_projector.")],
        "4.52": [("language_model.model.", "model.language_model."), ("language_model.lm_head.", "lm_head."),
                 ("vision_tower.", "model.vision_tower."), ("multi_modal_projector.", "model.multi_modal_projector.")],
    }[layout]
    out = {}
    for name, t in tensors.items():
        for old, new in prefixes:
            if name.startswith(old):
                name = new + name[len(old):]
                break
        tower = "vision_tower." if layout == "hub" else "model.vision_tower."
        if name.startswith(tower) and not name.startswith(tower + "vision_model."):
            name = tower + "vision_model." + name[len(tower):]
        out[name] = t.contiguous()
    return out


def old_config(path):
    with open(path) as f:
        config = json.load(f)
    rope = config["text_config"].pop("rope_parameters")
    config["text_config"] |= {"rope_theta": rope["rope_theta"], "rope_scaling": None}
    config["torch_dtype"] = config.pop("dtype", None)
    with open(path, "w") as f:
        json.dump(config, f, indent=2)


def save(model, folder, spec):
    kinds = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}
    model.to(kinds[spec.get("dtype", "f16")]).save_pretrained(folder)
    file = os.path.join(folder, "model.safetensors")
    tensors = load_file(file)
    if "layout" in spec:
        tensors = old_names(tensors, spec["layout"])
    if spec.get("age") == "4.x":
        old_config(os.path.join(folder, "config.json"))
    names, shards = list(tensors), spec.get("shards", 1)
    if shards == 1:
        save_file(tensors, file)
    else:
        os.remove(file)
        files = [f"model-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
        where = {n: files[i * shards // len(names)] for i, n in enumerate(names)}
        for f in files:
            save_file({n: tensors[n] for n in names if where[n] == f}, os.path.join(folder, f))
        with open(os.path.join(folder, "model.safetensors.index.json"), "w") as f:
            json.dump({"metadata": {}, "weight_map": where}, f)
    os.remove(os.path.join(folder, "generation_config.json"))
    for file in os.listdir(folder):
        os.chmod(os.path.join(folder, file), 0o644)
    return sorted(tensors)


def golden(folder, model, sp, picture):
    x = (np.asarray(picture) / 255 - MEAN) / STD
    pixels = torch.tensor(x).permute(2, 0, 1)[None].float()
    prompt = [1] + sp.encode("USER:") + [VOCAB - 2] * (IMAGE // PATCH) ** 2 + sp.encode(f"\n{QUESTION} ASSISTANT:")
    answer = sp.encode(ANSWER) + [2]
    model = model.float()
    with torch.no_grad():
        z = model(input_ids=torch.tensor([prompt + answer]), pixel_values=pixels).logits[0, len(prompt) - 1:-1]
    logp = z.log_softmax(-1).numpy().astype(np.float32)
    with open(os.path.join(folder, "logprobs.f32"), "wb") as f:
        f.write(logp.tobytes())
    with open(os.path.join(folder, "golden.json"), "w") as f:
        json.dump({"question": QUESTION, "answer": ANSWER, "answer_ids": answer, "prompt_ids": prompt}, f)
    return logp


def main():
    out, tokenizer = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    sp = SentencePieceProcessor(model_file=tokenizer)
    rng = np.random.default_rng(5)
    picture = Image.fromarray(rng.integers(0, 256, (IMAGE, IMAGE, 3)).astype(np.uint8))
    picture.save(os.path.join(out, "picture.png"))
    for seed, (name, spec) in enumerate(VARIANTS.items()):
        folder = os.path.join(out, name)
        shutil.rmtree(folder, ignore_errors=True)
        model = build(spec)
        randomise(model, seed)
        names = save(model, folder, spec)
        os.symlink(os.path.relpath(tokenizer, folder), os.path.join(folder, "tokenizer.model"))
        logp = golden(folder, model, sp, picture)
        entropy = -(np.exp(logp) * logp).sum(-1).mean()
        print(f"{name}: {len(names)} tensors, {names[0]}, entropy {entropy:.2f} of {np.log(VOCAB):.2f}")


if __name__ == "__main__":
    main()
