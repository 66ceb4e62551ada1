"""Made-up evaluations in the form that `eval --json` prints (docs/output.md), for tests of the report.

    with open("q4.json", "w") as f:
        json.dump(result("q4", 0.02, demo), f)

The figures are drawn by a fixed seed: `damage` is about the mean KL of the answers.
"""
import json
import math
import os
import random

ROLES = {"vision": ["vision.attention.q", "vision.attention.k", "vision.attention.v", "vision.attention.out",
                    "vision.ffn.up", "vision.ffn.down"],
         "language": ["language.attention.q", "language.attention.k", "language.attention.v", "language.attention.out",
                      "language.ffn.gate", "language.ffn.up", "language.ffn.down"]}
OUTSIDE = {"vision": ["projector", "projector"], "language": ["language.embedding", "language.output"]}


def interval(name, value, width, most=1):
    return {name: value, f"{name}_low": max(0, value - width), f"{name}_high": min(most, value + width)}


def kl(mean):
    return {"mean": mean, "low": mean * 0.8, "high": mean * 1.25, "median": mean / 50, "p90": mean * 2, "p99": mean * 12,
            "p999": mean * 40, "max": mean * 90}


def agreement(damage):
    return 1 - min(0.9, 0.6 * math.sqrt(damage))


def measures(answer, text, questions):
    right = [sum(q[key] for q in questions) / max(1, len(questions)) for key in ("exact_original", "exact")]
    lost = sum(q["exact_original"] and not q["exact"] for q in questions)
    gained = sum(q["exact"] and not q["exact_original"] for q in questions)
    found = {
        "counts": {"questions": len(questions), "answer_tokens": 3 * len(questions), "text_tokens": 4096 * bool(text)},
        "kl": {"answer": kl(answer)},
        "agreement": {"answer": agreement(answer)},
        "perplexity": {"answer": {"original": 1.4, **interval("quantised", 1.4 + answer, 0.02, 99),
                                  **interval("ratio", 1 + answer, 0.01, 99)}},
        "exact": {**interval("original", right[0], 0.02), **interval("quantised", right[1], 0.02)},
        "vqa": {**interval("original", right[0] / 3, 0.01), **interval("quantised", right[1] / 3, 0.01)},
        "flips": {"lost": lost, "gained": gained, "changed": 2 * lost + gained, "p": 0.5},
    }
    if text:
        found["kl"]["text"] = kl(text)
    return found


def questions_of(demo, damage, draw):
    with open(os.path.join(demo, "exam.jsonl"), encoding="utf-8") as f:
        records = [json.loads(line) for line in f]
    questions = []
    for record in records:
        before = draw.random() < 0.92
        now = before if draw.random() > min(0.9, 1.5 * damage) else not before
        far = damage * math.exp(draw.gauss(-1, 1.5))
        questions.append({
            "id": str(record["question_id"]), "image": os.path.join(demo, record["image"]), "kind": record["kind"],
            "question": record["text"], "right": record["answer"],
            "answer_original": record["answer"] if before else "no", "answer": record["answer"] if now else "small red star",
            "exact_original": before, "exact": now, "vqa_original": before / 3, "vqa": now / 3, "tokens": 3, "kl": far,
            "agreement": 1 / 3})
    return questions


def tensors_of(damage, blocks, draw):
    tensors = []
    for half, roles in ROLES.items():
        cells = [(role, block) for block in range(blocks) for role in [*roles, "norm", "bias"]]
        for role, block in cells + [(role, -1) for role in OUTSIDE[half]]:
            kept = role in ("norm", "bias")
            tensors.append({
                "name": f"{half}.{block}.{role}.weight", "half": half, "role": role, "block": block,
                "type": "f32" if kept else "q8_0" if "attention" in role else "q4_k",
                "error": 0.0 if kept else math.sqrt(damage) * draw.uniform(0.1, 0.5) * (0.05 if "attention" in role else 1),
                "reason": "never quantised" if kept else f"recipe gives {role} this type"})
    return tensors


def half_facts(folder, half, bpw):
    return {"path": f"{folder}/{half}.gguf", "bytes": int(3500000 * bpw / 8), "weights": 3500000, "bpw": bpw,
            "recipe": folder, "sha256": "0123456789abcdef" * 4}


def result(name, damage, demo, *, bpw=4.5, blocks=4, by_half=True, seed=1):
    draw = random.Random(seed)
    questions = questions_of(demo, damage, draw)
    images = sorted({q["image"] for q in questions})
    pictures = [{"image": image, "cosine": 1 - damage * 0.2 * math.exp(draw.gauss(-1, 0.8)), "cosine_min": 0.5,
                 "relative_error": 0.1} for image in images]
    cosines = sorted(p["cosine"] for p in pictures)
    whole = measures(damage, damage * 1.6, questions)
    kinds = [{"kind": kind, **measures(damage * factor, 0, [q for q in questions if q["kind"] == kind])}
             for factor, kind in zip((0.4, 0.7, 1, 1.4, 2, 1), sorted({q["kind"] for q in questions}))]
    return {
        "format": "llava-quantize evaluation", "version": 1, "name": name, "original_name": "model-F16", **whole,
        "embedding": {"pictures": len(pictures), "cosine": {"min": cosines[0], "p01": cosines[len(cosines) // 100],
                                                            "mean": sum(cosines) / len(cosines)},
                      "relative_error": {"mean": 0.1, "p99": 0.2, "max": 0.3}},
        "by_half": {"language": measures(damage * 0.35, damage * 1.6, questions) if by_half else None,
                    "vision": measures(damage * 0.7, 0, questions) if by_half else None},
        "kinds": kinds,
        "halves": {half: {"original": half_facts("f16", half, 16.0), "quantised": half_facts(name, half, bpw)}
                   for half in ("vision", "language")},
        "questions": questions, "pictures": pictures, "tensors": tensors_of(damage, blocks, draw),
        "speed": {"original": {"tokens_per_second": 310.5, "pictures_per_second": 40, "memory": 90000000},
                  "quantised": {"tokens_per_second": 402.25, "pictures_per_second": 42, "memory": 60000000}},
        "provenance": {"command": f"llava-quantize eval {name} --against f16 --data demo/exam.jsonl", "data": "demo/exam.jsonl",
                       "data_hash": "00112233445566778899aabbccddeeff", "text": "demo/text.txt", "text_hash": "ff" * 16,
                       "pictures": len(images), "records": len(questions), "broken": 0, "seed": 0, "limit": 0,
                       "text_windows": 16, "window": 512, "version": "0.1.0", "runtime": "llama.cpp 0.5.0",
                       "cpu": "A processor", "threads": 2, "seconds": 83.5, "peak_memory": 220000000, "stock": False},
    }
