"""More pictures with questions of the exam's kind, for means that the exam is too small for.

    data = draw(folder)    # folder/NNNNN.png and folder/drawn.jsonl; the path of the latter
    result = measured_on(options, pair, original, "drawn", data)
    ratio, (low, high) = bootstrap([pictures_of([ours, theirs])])

Scenes are tools/demo/scenes.py's, drawn as tools/demo/make_exam.py draws the exam, but from another seed, and with up
to eight of a scene's questions instead of two: a picture costs more time than its questions. Training, validation
(777), exam (4242), calibration (31337) and text (2718) used other seeds, so that nobody has seen these.
"""
import argparse
import json
import os
import struct
import sys
import zlib

import numpy as np

from quality import measured
from regress import PROJECT

sys.path.insert(0, os.path.join(PROJECT, "tools", "demo"))
from scenes import Scene  # noqa: E402

SEED, PICTURES, QUESTIONS = 60221, 1000, 8
RESAMPLES = 10000


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


def measured_on(options, pair, original, name, data):
    """The result of `eval` on one set, in a folder of its own."""
    folder = os.path.join(options.folder, name)
    os.makedirs(os.path.join(folder, "results"), exist_ok=True)
    options = argparse.Namespace(**{**vars(options), "folder": folder, "data": data, "text": None})
    return measured(options, pair, original)


def by_picture(result):
    """The divergence of each picture's answers, summed over their tokens."""
    sums = {}
    for question in result["questions"]:
        image = os.path.basename(question["image"])  # the folder may have moved since
        sums[image] = sums.get(image, 0) + question["kl"] * question["tokens"]
    return sums


def pictures_of(results):
    """Such sums of two results on one set, a row each, pictures in the same order."""
    sums = [by_picture(result) for result in results]
    return np.array([[s[image] for image in sums[0]] for s in sums])


def bootstrap(sets):
    """Ratio of the first row's sum to the second's over all sets, and its interval: pictures are drawn again within each
    set, the same ones for both."""
    rng = np.random.default_rng(1)
    totals = np.zeros((RESAMPLES, 2))
    for pictures in sets:
        counts = rng.multinomial(pictures.shape[1], np.full(pictures.shape[1], 1 / pictures.shape[1]), RESAMPLES)
        totals += counts @ pictures.T
    first, second = sum(pictures.sum(axis=1) for pictures in sets)
    return first / second, np.percentile(totals[:, 0] / totals[:, 1], (2.5, 97.5))
