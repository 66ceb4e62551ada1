"""verify --against, F16 against Q4_K, beside a plain read of the same two files.

    LQ_BIN=build/llava-quantize python3 verify.py [--threads 2] [--rounds 5] [--check]

Both files lie on a memory file system where one has room. The plain read takes turns with verify (A B A B ...): as many
threads, each reading 64 MiB stretches in pieces of 128 KiB (what cat does; larger pieces leave the processor's cache and
are slower), without looking at a byte. Speeds are bytes of both files by the best time of the rounds; verify's includes
the start of its process. The second ratio compares processor time, which a busy machine disturbs less. --check exits 1
unless the first ratio is at least 0.5.
"""
import argparse
import os
import resource
import subprocess
import sys
import threading
import time

from run import in_folder, make_model

BOUND = 0.5
STRETCH, PIECE = 64 << 20, 128 << 10


def read_stretches(jobs):
    piece = memoryview(bytearray(PIECE))
    while jobs:
        try:
            path, at, end = jobs.pop()
        except IndexError:  # another thread took the last one
            return
        with open(path, "rb", buffering=0) as f:
            while at < end:
                at += os.preadv(f.fileno(), [piece[:min(PIECE, end - at)]], at)


def spent(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def plain_read(paths, threads):
    jobs = [(p, at, min(at + STRETCH, os.path.getsize(p)))
            for p in paths for at in range(0, os.path.getsize(p), STRETCH)]
    workers = [threading.Thread(target=read_stretches, args=(jobs,)) for _ in range(threads)]
    before, started = spent(resource.RUSAGE_SELF), time.monotonic()
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return time.monotonic() - started, spent(resource.RUSAGE_SELF) - before


def verify(original, result, threads):
    before, started = spent(resource.RUSAGE_CHILDREN), time.monotonic()
    subprocess.run([os.environ["LQ_BIN"], "verify", result, "--against", original, "--threads", str(threads),
                    "--quiet"], check=True)
    return time.monotonic() - started, spent(resource.RUSAGE_CHILDREN) - before


def prepare(folder):
    """The F16 model and its Q4_K."""
    original = make_model(folder, "language")
    result = os.path.join(folder, "language-q4_k.gguf")
    if not os.path.exists(result):
        subprocess.run([os.environ["LQ_BIN"], "quantize", original, result, "q4_k", "--quiet"], check=True)
    return original, result


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", help="where models are made and kept; default: a new one in memory, else in TMPDIR")
    parser.add_argument("--check", action="store_true", help="exit 1 when the bound does not hold")
    return parser.parse_args()


def run(options, folder):
    original, result = prepare(folder)
    size = os.path.getsize(original) + os.path.getsize(result)
    times = {"plain read": [], "verify": []}
    for _ in range(options.rounds):
        times["plain read"].append(plain_read([original, result], options.threads))
        times["verify"].append(verify(original, result, options.threads))
    best = {who: [min(t[i] for t in rounds) for i in (0, 1)] for who, rounds in times.items()}
    print(f"verify --against: {size / 1e9:.2f} GB, {options.threads} threads, best of {options.rounds}")
    for who, (wall, cpu) in best.items():
        print(f"  {who:<16}{size / wall / 1e9:7.2f} GB/s {wall:7.2f} s wall {cpu:7.2f} s processor")
    ratio, share = (best["plain read"][i] / best["verify"][i] for i in (0, 1))
    verdict = "holds" if ratio >= BOUND else "DOES NOT HOLD"
    print(f"  ratio           {ratio:7.2f} wall {share:14.2f} processor; bound ({BOUND}, wall) {verdict}")
    return ratio >= BOUND


if __name__ == "__main__":
    sys.exit(in_folder(arguments(), run))
