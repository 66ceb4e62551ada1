"""What gathering adds to plain forward passes, and an estimate of it for LLaVA-1.5.

    LQ_BUILD=build python3 calibrate.py FOLDER [--windows 3] [--window 256] [--check]

The model: one block of LLaVA-1.5-7B's decoder, 4096 wide, with its output matrix, and a tower of one block; weights are
made up. All times are processor time of one thread, so that a busy machine disturbs them little. Second moments are
compared with BLAS alone: one cblas_ssyrk of 256 tokens into 4096 columns. The estimate is for a data set of RECORDS
records of 640 tokens, most of them a picture's; --check exits 1 unless gathering without second moments adds at most
30 % to the plain passes.
"""
import argparse
import json
import os
import subprocess
import sys
import zlib

import make_model

BOUND = 0.30
RECORDS, TOKENS, PICTURE = 512, 640, 577
MODELS = {"LLaVA-1.5-7B": (4096, 11008, 32), "LLaVA-1.5-13B": (5120, 13824, 40)}
TOWER = (1024, 4096, 23)
VOCABULARY = 32064
BAND = CHUNK = 256


def write_models(folder):
    os.makedirs(folder, exist_ok=True)
    shapes = {"calibrate.gguf": make_model.language(blocks=1), "mmproj-calibrate.gguf":
              make_model.tower("calibrate", 1024, 4096, 1, 16, 112, 14)}
    for name, shape in shapes.items():
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            make_model.write(path, *shape, seed=zlib.crc32(name.encode()))
    return [os.path.join(folder, name) for name in shapes]


def write_inputs(folder, demo, tokens):
    data, text = os.path.join(folder, "calibrate.jsonl"), os.path.join(folder, "calibrate.txt")
    with open(data, "w", encoding="utf-8") as f:
        f.write(json.dumps({"question_id": 1, "image": os.path.join(demo, "exam", "00003.png"), "text": "w1",
                            "answer": "w2"}) + "\n")
    with open(text, "w", encoding="utf-8") as f:
        f.write(" ".join(f"w{i % 30000}" for i in range(tokens)))
    return data, text


def inputs(width, feed, blocks, vocabulary=None):
    """Columns of each input of a decoder: q, k, v share one, so do gate and up."""
    return [width, width, width, feed] * blocks + ([width] if vocabulary else [])


def triangle(n):
    """Bytes of an input's second moments: bands of rows up to the diagonal's square."""
    full, rest = divmod(n, BAND)
    return 4 * (BAND * BAND * full * (full + 1) // 2 + rest * n)


def estimate(name, rates, records, threads=2):
    """Hours and gigabytes, from a block's rates by the number of products."""
    width, feed, blocks = MODELS[name]
    decoder = blocks * (4 * width * width + 3 * width * feed) + VOCABULARY * width
    tower = TOWER[2] * (4 * TOWER[0] ** 2 + 2 * TOWER[0] * TOWER[1]) + TOWER[0] * width + width * width
    columns = inputs(width, feed, blocks, VOCABULARY), inputs(*TOWER) + [TOWER[0], width]
    products = records * (TOKENS * decoder + PICTURE * tower)
    squares = records * (TOKENS * sum(n * n for n in columns[0]) + PICTURE * sum(n * n for n in columns[1]))
    sums = records * (TOKENS * sum(columns[0]) + PICTURE * sum(columns[1]))
    forward = (products * rates["product"] + sums * rates["column"]) / threads / 3600
    moments = sum(triangle(n) for n in columns[0] + columns[1])
    rows = 4 * CHUNK * sum(columns[0] + columns[1])
    file = sum(2 * n * (n + 1) + 60 * n for n in columns[0] + columns[1])
    return {"forward": forward, "moments": squares / rates["moments"] / threads / 3600,
            "memory": (moments + rows) / 1e9, "file": file / 1e9, "imatrix": 60 * sum(columns[0] + columns[1]) / 1e6}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    args.folder, build = os.path.abspath(args.folder), os.environ.get("LQ_BUILD", "build")
    demo = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "demo")
    models = write_models(args.folder)
    data, text = write_inputs(args.folder, os.path.abspath(demo), (args.windows + 1) * args.window)
    program = os.path.abspath(os.path.join(build, "tests", "bench_gather"))
    command = [program, *models, data, text, str(args.window), str(args.windows)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=args.folder)
    found = json.loads(done.stdout)
    columns = inputs(4096, 11008, 1, VOCABULARY)
    added = found["sums"] / found["plain"] - 1
    rate = found["tokens"] * sum(n * n for n in columns) / (found["moments"] - found["sums"])
    print(f"plain forward passes        {found['plain'] / found['tokens'] * 1e3:8.2f} ms a token")
    print(f"with sums (an imatrix)      {found['sums'] / found['tokens'] * 1e3:8.2f} ms a token, {added:+.1%}")
    print(f"with second moments too     {found['moments'] / found['tokens'] * 1e3:8.2f} ms a token")
    print(f"second moments              {rate / 1e9:8.1f} GFLOPS, BLAS alone {found['blas_flops'] / 1e9:.1f}: "
          f"{rate / found['blas_flops']:.0%}")
    products = 4 * 4096 ** 2 + 3 * 4096 * 11008 + 32000 * 4096
    rates = {"product": found["plain"] / found["tokens"] / products, "moments": rate,
             "column": max(0, found["sums"] - found["plain"]) / found["tokens"] / sum(columns)}
    print(f"\n{RECORDS} records of {TOKENS} tokens, two threads   forward  second moments  memory in one pass       "
          "file  imatrix alone")
    for name in MODELS:
        e = estimate(name, rates, RECORDS)
        print(f"{name:<38} {e['forward']:8.1f} h  {e['moments']:11.1f} h  {e['memory']:15.1f} GB {e['file']:7.1f} GB  "
              f"{e['imatrix']:9.0f} MB")
    if args.check and added > BOUND:
        sys.exit(f"gathering adds {added:.0%} to plain forward passes, the bound is {BOUND:.0%}")


if __name__ == "__main__":
    main()
