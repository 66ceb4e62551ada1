"""More pictures with questions of the exam's kind, for means that the exam is too small for.

    draw(folder)    # folder/NNNNN.png and folder/drawn.jsonl; returns the path of the latter

Scenes are tools/demo/scenes.py's, drawn as tools/demo/make_exam.py draws the exam, but from another seed, and with up
to eight of a scene's questions instead of two: a picture costs more time than its questions. Training, validation
(777), exam (4242), calibration (31337) and text (2718) used other seeds, so that nobody has seen these.
"""
import json
import os
import struct
import sys
import zlib

import numpy as np

from regress import PROJECT

sys.path.insert(0, os.path.join(PROJECT, "tools", "demo"))
from scenes import Scene  # noqa: E402

SEED, PICTURES, QUESTIONS = 60221, 1000, 8


def png(pixels):
    """A PNG file of rows of RGB bytes; Pillow is not needed for so little."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # 0: not filtered
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def draw(folder):
    os.makedirs(folder, exist_ok=True)
    data = os.path.join(folder, "drawn.jsonl")
    with open(data, "w", encoding="utf-8") as records:
        for number in range(PICTURES):
            rng = np.random.Generator(np.random.PCG64([SEED, number]))
            scene = Scene(rng)
            with open(os.path.join(folder, f"{number:05d}.png"), "wb") as f:
                f.write(png(scene.pixels))
            questions = scene.questions(rng)
            for turn, chosen in enumerate(rng.permutation(len(questions))[:QUESTIONS]):
                kind, text, answer = questions[chosen]
                record = {"question_id": QUESTIONS * number + turn, "image": f"{number:05d}.png", "text": text,
                          "answer": answer, "kind": kind}
                records.write(json.dumps(record) + "\n")
    return data
